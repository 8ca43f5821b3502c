"""What is drawn of a stranger's rows: marks that can be read back, and nothing that acts."""

from __future__ import annotations

import re
from html.parser import HTMLParser
from typing import Any

from hypothesis import given, settings
from hypothesis import strategies as st

from tunekit.report.look import words
from tunekit.report.look.page import Page, text
from tunekit.report.look.paint import Colour, Plain
from tunekit.report.look.terminal import Terminal
from tunekit.report.look.view import Collected, Head
from tunekit.report.look.visible import visible

FLAGS = st.sampled_from(["trained", "masked", "straddling"])
NASTY = ["⟦", "⟧", "⟨⟩", "\x1b[31m", "</pre>", "<script>x</script>", '" onload="x', "&amp;", "\u202e", "a\nb", "\r"]
TEXTS = st.text() | st.sampled_from(NASTY)
PIECES = st.lists(st.tuples(TEXTS, st.lists(st.integers(0, 9)), FLAGS, st.booleans()).map(list), max_size=8)


def read_back(drawn: str) -> list[tuple[str, str]]:
    """(flag, character) of what Plain has drawn, marks taken out."""
    out, flag = [], "masked"
    for c in drawn:
        if c in "⟦⟪":
            assert flag == "masked"
            flag = "trained" if c == "⟦" else "straddling"
        elif c in "⟧⟫":
            assert flag == ("trained" if c == "⟧" else "straddling")
            flag = "masked"
        elif c not in "⟨⟩":
            out.append((flag, c))
    assert flag == "masked"
    return out


@settings(deadline=None)
@given(PIECES)
def test_marks_say_exactly_what_is_trained(pieces):
    plain = Plain()
    assert read_back(plain.pieces(pieces)) == [(flag, c) for t, _, flag, _ in pieces for c in plain.text(t)]


@settings(deadline=None)
@given(PIECES)
def test_colour_changes_no_character_and_lets_none_through(pieces):
    colour = Colour()
    drawn = re.sub(r"\x1b\[[0-9;]*m", "", colour.pieces(pieces))
    assert drawn.replace("↵\n", "\n") == "".join(visible(t) for t, *_ in pieces).replace("↵\n", "\n")
    assert "\x1b" not in drawn


def test_trained_text_is_styled_and_masked_text_is_not():
    drawn = Colour().pieces([["a", [1], "masked", False], ["b\n", [2], "trained", False], ["<e>", [3], "masked", True]])
    assert drawn == "a\x1b[30;42mb↵\x1b[0m\n\x1b[1;35m<e>\x1b[0m"


@given(st.text())
def test_what_is_visible_does_nothing(value):
    shown = visible(value)
    assert all(c in "\t\n" or ord(c) >= 32 for c in shown)
    assert not re.search("[\x7f-\x9f\u200b\u200e\u200f\u2028-\u202e\u2066-\u2069\ufeff\ud800-\udfff]", shown)
    assert visible(shown) == shown


class Seen(HTMLParser):
    """Tags, attributes and text of a page."""

    def __init__(self, page: str) -> None:
        super().__init__(convert_charrefs=True)
        self.tags: set[str] = set()
        self.attributes: set[str] = set()
        self.values: list[str] = []
        self.open: list[str] = []
        self.data = ""
        self.feed(page)
        self.close()

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.add(tag)
        self.attributes |= {name for name, _ in attrs}
        self.values += [value or "" for _, value in attrs]
        if tag not in ("meta", "rect", "tr", "th", "td"):
            self.open.append(tag)

    def handle_endtag(self, tag: str) -> None:
        if tag not in ("rect", "tr"):
            assert self.open.pop() == tag

    def handle_data(self, data: str) -> None:
        self.data += data


TAGS = {"html", "head", "meta", "title", "style", "body", "h1", "h2", "h3", "small", "p", "pre", "span", "table", "tr"}
TAGS |= {"th", "td", "details", "summary", "svg", "rect", "del", "ins"}
ATTRIBUTES = {"lang", "charset", "http-equiv", "content", "name", "class", "title", "width", "height", "role", "x", "y"}


def answers(value: str, pieces: list[list[Any]]) -> list[dict[str, Any]]:
    """One of each, with a stranger's text wherever one can be."""
    spread: dict[str, Any] = {"count": 3, "min": 1, "max": 2, "mean": 1.3, "median": 1, "log": False}
    spread |= {"edges": [1, 2, 3], "counts": [2, 1]}
    column = {"path": value, "type": value, "count": 3, "nulls": 1, "unit": "characters", "spread": spread,
              "not_finite": 0, "values": []}  # fmt: skip
    runs = [["same", pieces], ["skipped", 3], ["removed", pieces], ["added", pieces]]
    change = {"type": "change", "before": 1, "after": 2, "what": "edited", "cut": True}
    compared = {"before": 3, "after": 4, "same": 1, "added": 1, "removed": 0, "edited": 2, "moved": 1,
                "pieces": {"before": 1, "after": 2, "kept": 0}}  # fmt: skip
    sample = {"type": "sample", "row": 1, "fields": {value: value, "messages": [{"role": value, "content": value}]}}
    read = {"pieces": pieces, "tokens": 3, "trained": 1, "skipped": [1, 2], "left_out": value, "notes": [value]}
    return [
        {"type": "subject", "label": "dataset:x", "form": value, "rows": 3, "chunks": 1, "bytes": 10},
        {"type": "columns", "looked": 3, "columns": [column, {**column, "values": [[value, 2]]}]},
        {"type": "tokens", "looked": 2, "rows": 3, "tokens": 9, "labelled": 4, "over": 0, "longest_row": 1,
         "spreads": {"length": spread, "trained": spread, "share": spread}},
        {"type": "prompts", "looked": 3, "over": 0, "spreads": {"length": None}},
        {"type": "ledger", "of": "tokens", "counts": {value: 3, "reasons": {value: {"rows": [1], "why": value}}}},
        {"type": "template", "text": value},
        {**sample, "cut": True},
        {**sample, **read, "cut": False},
        {"type": "searched", "rows": 3, "found": 1, "stopped": True},
        {"type": "compared", "of": "rows", **compared},
        {"type": "compared", "of": "tokens", **compared, "masks_only": 1, "totals": [[1, 2], [3, 4]]},
        {**change, "of": "rows", "leaves": [[value, value, value], ["a", None, 1]]},
        {**change, "of": "rows", "what": "added", "before": None, "fields": {value: value}},
        {**change, "of": "tokens", "runs": runs},
    ]  # fmt: skip


def page_of(value: str, pieces: list[list[Any]]) -> str:
    out: list[str] = []
    page = Page(value, out.append)
    page.begin(Head(value, value, value, [value], {value: {value: 1}}, value))
    for answer in answers(value, pieces):
        page.take(answer)
    page.close()
    return "".join(out)


@settings(deadline=None)
@given(TEXTS, PIECES)
def test_a_page_holds_any_text_as_text(value, pieces):
    page = page_of(value, pieces)
    seen = Seen(page)
    assert seen.open == []
    assert seen.tags <= TAGS and seen.attributes <= ATTRIBUTES
    assert not [v for v in seen.values if re.search(r"url\(|https?:|javascript:", v) and v != visible(value)]
    assert visible(value) in seen.data
    for shown, *_ in pieces:
        assert visible(shown).replace("\n", "↵\n") in seen.data.replace("↵\n", "\n").replace("\n", "↵\n")


@settings(deadline=None)
@given(TEXTS, st.lists(st.integers()))
def test_text_is_escaped_for_content_and_for_attributes(value, ids):
    assert not set("<>\"'") & set(text(value))
    seen = Seen(f'<p title="{text(value)}">{text(value)}</p>')
    assert (seen.values, seen.data) == ([visible(value)], visible(value))


def test_a_page_loads_nothing_and_is_for_light_and_dark():
    page = page_of("x", [["a", [1], "trained", False]])
    assert "default-src 'none'" in page and "prefers-color-scheme: dark" in page and "<script" not in page
    assert not re.search(r"https?://|@import|url\(|<link|<img|src=", page)


@settings(deadline=None)
@given(TEXTS, PIECES)
def test_a_terminal_gets_lines_without_control_characters(value, pieces):
    lines: list[str] = []
    drawn = Terminal(Plain(), lines.append)
    drawn.begin(Head("dataset:x", "sha256:0", "run:y", [value], {"dataset:x": {value: 1}}, "b"))
    for answer in answers(value, pieces):
        drawn.take(answer)
    lines = "\n".join(lines).split("\n")
    assert not [line for line in lines if re.search("[\x00-\x08\x0b-\x1f\x7f-\x9f\u202e]", line)]
    # no row can draw a title: its lines are indented
    titles = [line for line in lines if line and not line.startswith(" ")]
    ours = {"dataset:x", "columns", "ledger", "tokens", "prompts", "chat", "row", "rows", "rows:", "tokens:", "1"}
    assert {line.split()[0] for line in titles} <= {*ours, "⟦trained⟧"}


def test_json_has_all_answers_under_their_dataset():
    collected = Collected()
    collected.begin(Head("dataset:x", "sha256:0", "run:y"))
    for answer in answers("v", []):
        collected.take(answer)
    (found,) = collected.datasets
    assert (len(found["samples"]), len(found["changes"])) == (2, 3)
    assert found["ledgers"]["run:y#tokens"]["v"] == 3
    assert {"columns", "tokens", "template", "searched", "rows_compared", "tokens_compared"} <= found.keys()


def test_bars():
    assert words.bars([0, 1, 100]) == " ▁█"
    assert words.bars([]) == ""
    assert words.histogram({"counts": [3], "log": False}) == ""
    assert words.histogram({"counts": [1, 1], "log": True}) == "▕██▏ log"


def test_numbers_in_words():
    assert [words.count(n) for n in (12345.0, 0.4481, 1e300)] == ["12,345", "0.448", "1e+300"]
    spread = {"min": 2, "max": 2, "median": 2}
    assert words.spread(spread, "items") == "2 items"
    assert words.looked(10, 10) == "all 10 rows" and words.looked(10, 20).startswith("10 of 20 rows")


def test_ids_are_shown_where_other_ids_stand_for_the_same_text():
    runs = [["removed", [["a", [1], "masked", False]]], ["added", [["a", [2], "masked", False]]]]
    assert [run[1][0][0] for run in words.with_ids(runs)] == ["a[1]", "a[2]"]
    runs[1][1][0][2] = "trained"
    assert words.with_ids(runs) == runs
