"""`inspect --html`: one page that needs nothing else. Text of rows is escaped in one place; there is no script."""

from __future__ import annotations

import json
from collections.abc import Callable
from html import escape
from typing import Any

from tunekit.report.figures import size
from tunekit.report.look import words
from tunekit.report.look.rowtext import row_lines
from tunekit.report.look.terminal import PIECE
from tunekit.report.look.view import Head, View
from tunekit.report.look.visible import visible

# Nothing may be loaded and nothing may run, whatever a row holds.
_POLICY = "default-src 'none'; style-src 'unsafe-inline'"
_STYLE = """
:root { color-scheme: light dark; --trained: #b7ecc0; --straddling: #ffe08a; --special: #8a2be2; --line: #d0d0d8;
  --soft: #666; --bar: #5b8def; --removed: #ffd6d6; --added: #d3f5da; }
@media (prefers-color-scheme: dark) { :root { --trained: #14532d; --straddling: #6b5200; --special: #d0a6ff;
  --line: #3a3a44; --soft: #a0a0aa; --bar: #7aa2f7; --removed: #5a1e1e; --added: #174a25; } }
body { font: 15px/1.5 system-ui, sans-serif; max-width: 70rem; margin: 2rem auto; padding: 0 1rem; }
h1, h2, h3 { line-height: 1.2; } h2 { border-top: 1px solid var(--line); padding-top: 1rem; margin-top: 2.5rem; }
h3 small, .soft { color: var(--soft); font-weight: normal; }
pre { font: 13px/1.5 ui-monospace, monospace; white-space: pre-wrap; overflow-wrap: anywhere; margin: .4rem 0;
  padding: .6rem; border: 1px solid var(--line); border-radius: 6px; }
table { border-collapse: collapse; } td, th { text-align: left; vertical-align: top; padding: .15rem .8rem .15rem 0;
  border-bottom: 1px solid var(--line); overflow-wrap: anywhere; }
.trained { background: var(--trained); } .straddling { background: var(--straddling); }
.special { color: var(--special); font-weight: 600; border: 1px solid currentColor; border-radius: 3px; }
.removed { background: var(--removed); } .added { background: var(--added); }
svg { vertical-align: middle; } rect { fill: var(--bar); }
"""


class Page(View):
    """Writes the answers as they come. `write` takes text of the page, which is never held as a whole."""

    def __init__(self, title: str, write: Callable[[str], object]) -> None:
        super().__init__()
        self._write = write
        self._write(
            '<!doctype html>\n<html lang="en">\n<head>\n<meta charset="utf-8">\n'
            f'<meta http-equiv="Content-Security-Policy" content="{_POLICY}">\n'
            '<meta name="viewport" content="width=device-width, initial-scale=1">\n'
            f"<title>{text(title)}</title>\n<style>{_STYLE}</style>\n</head>\n<body>\n<h1>{text(title)}</h1>\n"
            f"<p>{_piece(['trained', [], 'trained', False])} masked {_piece(['special token', [], 'masked', True])} "
            f"{_piece(['straddles an edge: not trained', [], 'straddling', False])}</p>\n"
        )

    def close(self) -> None:
        self._write("</body>\n</html>\n")

    def begin(self, head: Head) -> None:
        super().begin(head)
        self._write(f"<h2>{text(head.title)}</h2>\n")

    def on_subject(self, answer: dict[str, Any]) -> None:
        rows = [("form", answer["form"]), ("rows", words.count(answer["rows"]))]
        if "chunks" in answer:
            rows.append(("chunks", f"{words.count(answer['chunks'])} ({size(answer['bytes'])})"))
        self._table([*rows, ("artifact", self.head.digest), *(("note", remark) for remark in self.head.remarks)])

    def on_columns(self, answer: dict[str, Any]) -> None:
        self._title("columns", words.looked(answer["looked"], self.rows))
        self._write("<table>\n<tr><th>column<th>type<th>what it holds<th></tr>\n")
        for column in answer["columns"]:
            said = words.column_words({**column, "spread": None})
            lengths = words.spread(column["spread"], column["unit"] if column["unit"] != "value" else "")
            about = "  ".join(part for part in (lengths, said) if part)
            self._write(
                f"<tr><td>{text(column['path'])}<td>{text(column['type'])}<td>{text(about)}"
                f"<td>{histogram(column['spread'])}</tr>\n"
            )
        self._write("</table>\n")
        for label, counts in self.head.ledgers.items():
            self._ledger(label, counts)

    def on_tokens(self, answer: dict[str, Any]) -> None:
        self._title("tokens", words.token_title(answer))
        self._figures(answer)

    def on_prompts(self, answer: dict[str, Any]) -> None:
        self._title("prompts", words.looked(answer["looked"], self.rows))
        self._figures(answer)

    def on_ledger(self, answer: dict[str, Any]) -> None:
        self._ledger(f"{self.head.reader}#{answer['of']}", answer["counts"])

    def on_template(self, answer: dict[str, Any]) -> None:
        self._details("chat template: rows are shown as it prints them", answer["text"])

    def on_sample(self, answer: dict[str, Any]) -> None:
        self._title(f"row {answer['row']}", words.sample_words(answer))
        fields = "\n".join(row_lines(answer["fields"]))
        if answer.get("pieces"):
            before, behind = (words.plural(n, "token") if n else "" for n in answer["skipped"])
            lead = f'<span class="soft">… {before}</span>\n' if before else ""
            tail = f'\n<span class="soft">… {behind}</span>' if behind else ""
            self._write(f"<pre>{lead}{''.join(map(_piece, answer['pieces']))}{tail}</pre>\n")
            self._details("the row itself", fields)
        else:
            self._write(_pre(fields) + "\n")
        self._cut(answer)

    def on_searched(self, answer: dict[str, Any]) -> None:
        stopped = "; stopped at --limit" if answer["stopped"] else ""
        said = f"{words.plural(answer['found'], 'row')} found, {words.count(answer['rows'])} searched{stopped}"
        self._write(f"<p>{text(said)}</p>\n")

    def on_compared(self, answer: dict[str, Any]) -> None:
        self._title(answer["of"], f"{words.count(answer['before'])} → {words.count(answer['after'])} rows")
        said = [words.compared_words(answer), words.pieces_words(answer, PIECE[answer["of"]])]
        said += words.totals_words(answer)
        self._write("".join(f"<p>{text(line)}</p>\n" for line in said))

    def on_change(self, answer: dict[str, Any]) -> None:
        self._title(f"{answer['of']}: {words.change_words(answer)}")
        if "leaves" in answer:
            for path, old, new in answer["leaves"]:
                sides = "\n".join(_side(how, value) for how, value in (("removed", old), ("added", new)))
                self._write(f'<p class="soft">{text(path or "row")}</p>\n<pre>{sides}</pre>\n')
        elif "fields" in answer:
            how = "removed" if answer["what"] == "removed" else "added"
            self._write(_pre("\n".join(row_lines(answer["fields"])), how) + "\n")
        else:
            self._write(f"<pre>{''.join(map(_run, words.with_ids(answer['runs'])))}</pre>\n")
        self._cut(answer)

    # -- pieces of it ---------------------------------------------------------------------------

    def _title(self, title: str, about: str = "") -> None:
        more = f" <small>{text(about)}</small>" if about else ""
        self._write(f"<h3>{text(title)}{more}</h3>\n")

    def _table(self, rows: list[tuple[str, str]]) -> None:
        lines = "".join(f"<tr><th>{text(name)}<td>{text(value)}</tr>\n" for name, value in rows)
        self._write(f"<table>\n{lines}</table>\n")

    def _figures(self, answer: dict[str, Any]) -> None:
        self._table(words.token_rows(answer, self.head.bound, drawn=False))
        for name, spread in answer["spreads"].items():
            if bars := histogram(spread):
                self._write(f'<p><span class="soft">{text(name)}</span> {bars}</p>\n')

    def _ledger(self, label: str, counts: dict[str, Any]) -> None:
        self._title(f"ledger of {label}")
        self._table(words.ledger_rows(counts))

    def _details(self, title: str, body: str) -> None:
        self._write(f"<details><summary>{text(title)}</summary>{_pre(body)}</details>\n")

    def _cut(self, answer: dict[str, Any]) -> None:
        if answer["cut"]:
            self._write('<p class="soft">cut; --full shows all of it</p>\n')


def text(value: str) -> str:
    """Text as HTML, wherever in the page it stands."""
    return escape(visible(value), quote=True)


def histogram(spread: dict[str, Any] | None) -> str:
    """Bars with what they count as a tool tip."""
    if spread is None or len(spread["counts"]) < 2:
        return ""
    counts, edges = spread["counts"], spread["edges"]
    most, width = max(counts), 8
    bars = []
    for place, n in enumerate(counts):
        height = max(30 * n / most, 1) if n else 0
        tip = f"{words.count(edges[place])} … {words.count(edges[place + 1])}: {words.count(n)}"
        bars.append(
            f'<rect x="{place * width}" y="{30 - height:.1f}" width="{width - 1}" height="{height:.1f}">'
            f"<title>{text(tip)}</title></rect>"
        )
    said = " (logarithmic)" if spread["log"] else ""
    return f'<svg width="{len(counts) * width}" height="30" role="img">{"".join(bars)}</svg>{said}'


def _pre(body: str, style: str = "") -> str:
    """Text as it is; a page drops the first line end of a `pre`."""
    opened = f'<pre class="{style}">' if style else "<pre>"
    return f"{opened}\n{text(body)}</pre>"


def _piece(piece: list[Any]) -> str:
    shown, ids, flag, special = piece
    classes = " ".join(name for name in (flag if flag != "masked" else "", "special" if special else "") if name)
    tip = f' title="{" ".join(map(str, ids))}"' if ids else ""
    inner = text(shown)
    if flag == "trained":
        inner = inner.replace("\n", "↵\n")
    style = f' class="{classes}"' if classes else ""
    return f"<span{style}{tip}>{inner}</span>"


def _run(run: list[Any]) -> str:
    what, found = run
    if what == "skipped":
        return f'\n<span class="soft">… {text(words.plural(found, "token"))} the same</span>\n'
    inner = "".join(map(_piece, found))
    return inner if what == "same" else f'<{_CHANGED[what]} class="{what}">{inner}</{_CHANGED[what]}>'


_CHANGED = {"removed": "del", "added": "ins"}


def _side(how: str, value: Any) -> str:
    """One side of a change; nothing where it has no value."""
    if value is None:
        return ""
    shown = value if isinstance(value, str) else json.dumps(value, ensure_ascii=False)
    return f'<span class="{how}">{text(shown)}</span>'
