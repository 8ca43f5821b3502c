"""`inspect` in a terminal, or as plain lines."""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import Any

from tunekit.report.figures import size
from tunekit.report.look import words
from tunekit.report.look.paint import Paint
from tunekit.report.look.rowtext import row_lines
from tunekit.report.look.view import Head, View
from tunekit.report.settings import block

PIECE = {"rows": "chunk", "tokens": "part"}


class Terminal(View):
    """Draws the answers as they come."""

    def __init__(self, paint: Paint, say: Callable[[str], None]) -> None:
        super().__init__()
        self._paint = paint
        self._say = say
        self._told = False  # whether the legend was shown

    def begin(self, head: Head) -> None:
        super().begin(head)
        self._title(head.title, first=True)

    def on_subject(self, answer: dict[str, Any]) -> None:
        rows = [("form", answer["form"]), ("rows", words.count(answer["rows"]))]
        if "chunks" in answer:
            rows[1] = ("rows", f"{words.count(answer['rows'])} in {words.plural(answer['chunks'], 'chunk')}"
                               f" ({size(answer['bytes'])})")  # fmt: skip
        rows += [("artifact", self.head.digest), *(("note", text) for text in self.head.remarks)]
        self._block("", rows)

    def on_columns(self, answer: dict[str, Any]) -> None:
        self._title(f"columns ({words.looked(answer['looked'], self.rows)})")
        names = [column["path"] for column in answer["columns"]]
        wide, narrow = max(map(len, names)), max(len(column["type"]) for column in answer["columns"])
        for column in answer["columns"]:
            line = f"{column['path']:<{wide}}  {column['type']:<{narrow}}  {words.column_words(column)}"
            self._line("  " + self._one(line).rstrip())
        for label, counts in self.head.ledgers.items():
            self._ledger(label, counts)

    def on_tokens(self, answer: dict[str, Any]) -> None:
        part = (
            "" if answer["looked"] == answer["rows"] else f" (trained and share: {words.count(answer['looked'])} rows)"
        )
        self._title("tokens" + part)
        self._block("", words.token_rows(answer, self.head.bound))

    def on_prompts(self, answer: dict[str, Any]) -> None:
        self._title(f"prompts ({words.looked(answer['looked'], self.rows)}); what is trained is sampled later")
        self._block("", words.token_rows(answer, self.head.bound))

    def on_ledger(self, answer: dict[str, Any]) -> None:
        self._ledger(f"{self.head.reader}#{answer['of']}", answer["counts"])

    def on_template(self, answer: dict[str, Any]) -> None:
        lines = answer["text"].count("\n") + 1
        self._title(
            f"chat template ({words.plural(lines, 'line')}; --html has its text): rows are shown as it prints them"
        )

    def on_sample(self, answer: dict[str, Any]) -> None:
        head, about = f"row {answer['row']}", words.sample_words(answer)
        if "pieces" in answer and not self._told:
            self._told = True
            self._say("")
            self._say(self._paint.legend)
        self._title(head, about)
        if answer.get("pieces"):
            before, behind = answer["skipped"]
            self._skipped(before)
            self._text(self._paint.pieces(answer["pieces"]))
            self._skipped(behind)
        else:
            self._text("\n".join(self._paint.text(line) for line in row_lines(answer["fields"])))
        self._cut(answer)

    def on_searched(self, answer: dict[str, Any]) -> None:
        stopped = "; stopped at --limit" if answer["stopped"] else ""
        self._say("")
        self._say(f"{words.plural(answer['found'], 'row')} found, {words.count(answer['rows'])} searched{stopped}")

    def on_compared(self, answer: dict[str, Any]) -> None:
        unit = PIECE[answer["of"]]
        self._title(answer["of"], f"{words.count(answer['before'])} → {words.count(answer['after'])} rows")
        self._line("  " + words.compared_words(answer))
        self._line("  " + words.pieces_words(answer, unit))
        for line in words.totals_words(answer):
            self._line("  " + line)

    def on_change(self, answer: dict[str, Any]) -> None:
        if answer["of"] == "tokens" and not self._told:
            self._told = True
            self._say("")
            self._say(self._paint.legend)
        self._title(f"{answer['of']}: {words.change_words(answer)}")
        if "leaves" in answer:
            for path, old, new in answer["leaves"]:
                self._line(f"  {self._one(path or 'row')}")
                self._side("- ", old, "removed")
                self._side("+ ", new, "added")
        elif "fields" in answer:
            sign, how = ("- ", "removed") if answer["what"] == "removed" else ("+ ", "added")
            for line in row_lines(answer["fields"]):
                self._line("  " + self._paint.word(sign + self._paint.text(line), how))
        else:
            self._runs(answer["runs"])
        self._cut(answer)

    # -- pieces of it ---------------------------------------------------------------------------

    def _runs(self, runs: list[list[Any]]) -> None:
        """What changed with what is around it, a line each."""
        for what, found in words.with_ids(runs):
            if what == "skipped":
                self._line("    " + self._paint.word(f"… {words.plural(found, 'token')} the same", "dim"))
                continue
            sign = {"same": "  ", "removed": "- ", "added": "+ "}[what]
            for line in self._paint.pieces(found).split("\n"):
                self._line("  " + (self._paint.word(sign, what) if what != "same" else sign) + line)

    def _side(self, sign: str, value: Any, how: str) -> None:
        if value is None:
            return
        text = value if isinstance(value, str) else json.dumps(value, ensure_ascii=False)
        for line in text.split("\n"):
            self._line("    " + self._paint.word(sign + self._paint.text(line), how))

    def _ledger(self, label: str, counts: dict[str, Any]) -> None:
        self._title(f"ledger of {label}")
        self._block("", words.ledger_rows(counts))

    def _title(self, text: str, about: str = "", *, first: bool = False) -> None:
        if not (first and self.number == 1):
            self._say("")
        self._say(self._paint.word(self._one(text), "title") + (f"  {self._one(about)}" if about else ""))

    def _block(self, title: str, rows: list[tuple[str, str]]) -> None:
        for line in block(title, rows)[1:]:
            self._line(self._one(line))

    def _one(self, text: str) -> str:
        """Names and remarks stay on their line, whatever a stranger calls a column."""
        return self._paint.text(text).replace("\n", "\\n")

    def _text(self, text: str) -> None:
        for line in text.split("\n"):
            self._line("  " + line if line else "")

    def _line(self, text: str) -> None:
        self._say(text)

    def _skipped(self, tokens: int) -> None:
        if tokens:
            self._line("  " + self._paint.word(f"… {words.plural(tokens, 'token')}", "dim"))

    def _cut(self, answer: dict[str, Any]) -> None:
        if answer["cut"]:
            self._line("  " + self._paint.word("(cut; --full shows all of it)", "dim"))
