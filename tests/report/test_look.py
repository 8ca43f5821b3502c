"""What is drawn of a stranger's rows: marks that can be read back, and nothing that acts."""

from __future__ import annotations

import io
import re
from html.parser import HTMLParser
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from rich.cells import cell_len
from rich.console import Console

from tunekit.report.look import words
from tunekit.report.look.blocks import Head, Title, with_ids
from tunekit.report.look.page import Page, text
from tunekit.report.look.screen import Screen
from tunekit.report.look.view import Collected
from tunekit.report.look.visible import lined, spaced, visible

FLAGS = st.sampled_from(["trained", "masked", "straddling"])
NASTY = ["⟦", "⟧", "⟨⟩", "\x1b[31m", "\x1b]0;x\x07", "</pre>", "<script>x</script>", '" onload="x', "&amp;", "\u202e"]
NASTY += ["a\nb", "\r", "  two", " ", "\t", "␣⇥↵", "x \n", "[red]x[/red]", ":smile:", "https://x"]
TEXTS = st.text() | st.sampled_from(NASTY) | st.text(" \t\nab␣", max_size=6)
PIECES = st.lists(st.tuples(TEXTS, st.lists(st.integers(0, 9)), FLAGS, st.booleans()).map(list), max_size=8)


def screen(*, coloured: bool = False, width: int = 80) -> tuple[Screen, io.StringIO]:
    out = io.StringIO()
    kind = {"force_terminal": True, "color_system": "standard"} if coloured else {"force_terminal": False}
    return Screen(
        Console(file=out, width=width, highlight=False, markup=False, emoji=False, no_color=False, **kind)
    ), out


def without_marks(shown: str) -> str:
    """What `spaced` was given, but for what `visible` writes out."""
    return shown.replace("↵\n", "\n").replace("↵", "\n").replace("␣", " ").replace("⇥", "\t")


def written_out(value: str) -> str:
    """`visible`, and our own marks by their numbers."""
    return visible(re.sub("[⟦⟧⟪⟫⟨⟩␣⇥↵]", lambda m: f"\\u{ord(m[0]):04x}", value))


@settings(deadline=None)
@given(PIECES)
def test_marks_say_exactly_what_is_trained_and_what_the_text_is(pieces):
    """The law of the lens: the pieces that are shown are the row's text, and trained is what is labelled."""
    out, flag = [], "masked"
    opened = {"⟦": "trained", "⟪": "straddling"}
    for c in screen()[0].pieces(pieces).plain:
        if c in opened:
            assert flag == "masked"
            flag = opened[c]
        elif c in "⟧⟫":
            assert flag == opened["⟦" if c == "⟧" else "⟪"]
            flag = "masked"
        elif c not in "⟨⟩":
            out.append((flag, c))
    assert flag == "masked"
    want = [(flag, c) for t, _, flag, _ in pieces for c in spaced(t)]
    for what in ("trained", "masked", "straddling"):
        shown, given_ = (without_marks("".join(c for f, c in found if f == what)) for found in (out, want))
        assert shown.removesuffix("\n") == given_.removesuffix("\n")


@settings(deadline=None)
@given(PIECES)
def test_colour_changes_no_character_and_lets_none_through(pieces):
    drawn, out = screen(coloured=True)
    shown = drawn.pieces(pieces)
    want = "".join(written_out(t) for t, *_ in pieces)
    assert without_marks(shown.plain).removesuffix("\n") == want.removesuffix("\n")
    drawn._say(shown)
    assert "\x1b" not in re.sub(r"\x1b\[[0-9;]*m", "", out.getvalue())


def test_trained_text_is_styled_and_masked_text_is_not():
    drawn, out = screen(coloured=True)
    pieces = [["a", [1], "masked", False], ["b\n", [2], "trained", False], ["<e>", [3], "masked", True]]
    drawn._say(drawn.pieces(pieces))
    assert out.getvalue() == "a\x1b[30;42mb↵\x1b[0m\n\x1b[1;35m<e>\x1b[0m\n"


@settings(deadline=None)
@given(TEXTS, st.text(" \nab", max_size=2), st.text(" \nab", max_size=2))
def test_white_space_can_be_told_apart_and_read_back(value, before, behind):
    shown = spaced(value, before, behind)
    assert without_marks(shown) == written_out(value)
    assert not re.search(r"\t|(?<!↵)\n| (?=[ ↵])", shown)
    assert before or not shown.startswith(" ")
    assert behind or not shown.endswith(" ")


def test_white_space_in_words():
    assert spaced(" a  b c\t\n x ") == "␣a␣␣b c⇥↵\n␣x␣"
    assert spaced(" a", "b") == " a" and spaced("a ", "", "b") == "a " and spaced(" ", "a", " ") == "␣"
    assert lined("a\n\nb \n") == "a\n\nb␣↵" and lined("a") == "a"


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
        if tag not in ("meta",):
            self.open.append(tag)

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag

    def handle_data(self, data: str) -> None:
        self.data += data


TAGS = {"html", "head", "meta", "title", "style", "body", "h1", "h2", "h3", "small", "p", "pre", "span", "table", "tr"}
TAGS |= {"td", "details", "summary", "del", "ins"}
ATTRIBUTES = {"lang", "charset", "http-equiv", "content", "name", "class", "title"}


def answers(value: str, pieces: list[list[Any]]) -> list[dict[str, Any]]:
    """One of each, with a stranger's text wherever one can be."""
    spread: dict[str, Any] = {"count": 3, "min": 1, "max": 2, "mean": 1.3, "median": 1, "log": False}
    spread |= {"edges": [1, 2, 3], "counts": [2, 1]}
    column = {"path": value, "type": value, "count": 3, "nulls": 1, "unit": "characters", "spread": spread,
              "not_finite": 0, "values": []}  # fmt: skip
    runs = [["same", pieces], ["skipped", 3], ["removed", pieces], ["added", pieces]]
    change = {"type": "change", "before": 1, "after": 2, "what": "edited", "cut": True}
    compared = {"before": 3, "after": 4, "same": 1, "added": 1, "removed": 0, "edited": 2, "moved": 1,
                "pieces": [0, 2]}  # fmt: skip
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
    assert "".join(written_out(shown) for shown, *_ in pieces) in without_marks(seen.data)


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
@given(TEXTS, PIECES, st.booleans())
def test_a_terminal_gets_lines_without_control_characters(value, pieces, coloured):
    drawn, out = screen(coloured=coloured)
    drawn.begin(Head("dataset:x", "sha256:0", "run:y", [value], {"dataset:x": {value: 1}}, "b"))
    for answer in answers(value, pieces):
        drawn.take(answer)
    lines = re.sub(r"\x1b\[[0-9;]*m", "", out.getvalue()).split("\n")
    assert not [line for line in lines if re.search("[\x00-\x08\x0b-\x1f\x7f-\x9f\u202e]", line)]
    if coloured:
        return
    # no row can draw a title: its lines are indented
    titles = [line for line in lines if line and not line.startswith(" ")]
    ours = {"dataset:x", "columns", "ledger", "tokens", "prompts", "chat", "row", "rows", "rows:", "tokens:", "1"}
    assert {line.split()[0] for line in titles} <= {*ours, "⟦trained⟧"}


def test_nothing_is_wider_than_the_terminal():
    drawn, out = screen(coloured=True, width=80)
    drawn.begin(Head("dataset:x", "sha256:" + "0" * 64, "run:y", [], {}, "sequence_len = 64"))
    pieces = [["word " * 50 + "漢字" * 60, [1], "trained", False], ["x" * 300, [2], "masked", False]]
    for answer in answers("some words of a column " * 9, pieces):
        if answer["type"] in ("subject", "columns", "tokens", "sample", "change"):
            drawn.take({**answer, "left_out": "", "notes": []} if "pieces" in answer else answer)
    lines = re.sub(r"\x1b\[[0-9;]*m", "", out.getvalue()).split("\n")
    assert [line for line in lines if cell_len(line) > 80] == [] and len(lines) > 60
    assert not [line for line in lines if "word " in line and not line.startswith("  ")]


def test_a_reader_that_has_gone_is_told_to_the_command_line(monkeypatch):
    class Gone(io.StringIO):
        def write(self, text: str) -> int:
            raise BrokenPipeError

    monkeypatch.setattr("sys.stdout", Gone())
    with pytest.raises(BrokenPipeError):
        Screen().draw(Title("x"))


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
    assert [run[1][0][0] for run in with_ids(runs)] == ["a[1]", "a[2]"]
    runs[1][1][0][2] = "trained"
    assert with_ids(runs) == runs
