"""`inspect` in a terminal, wrapped to its width, in colour; or as plain lines, with marks in place of colours."""

from __future__ import annotations

from itertools import groupby
from typing import Any

from rich.console import Console
from rich.table import Table
from rich.text import Text

from tunekit.report.look.blocks import Block, Body, Folded, Grid, Legend, Note, Title, Tokens
from tunekit.report.look.view import View
from tunekit.report.look.visible import pieces_spaced, visible
from tunekit.report.look.words import plural

_STYLES = {"trained": "black on green", "masked": "", "straddling": "black on yellow"}
_SPECIAL = {"trained": "bold black on bright_green", "masked": "bold magenta", "straddling": "bold black on yellow"}
_BRACKETS = {"trained": "⟦⟧", "masked": "", "straddling": "⟪⟫"}
_SIGNS = {"same": ("", ""), "removed": ("- ", "red"), "added": ("+ ", "green")}
_INDENT = Text("  ")
_ENDLESS = 1 << 20  # columns of what is no terminal: what reads it finds a row's line as it is


class _Console(Console):
    def on_broken_pipe(self) -> None:
        raise BrokenPipeError  # rich would exit; the command line knows what to do


class Screen(View):
    """Draws the answers as they come."""

    def __init__(self, console: Console | None = None) -> None:
        super().__init__()
        self._console = console or _Console(highlight=False, markup=False, emoji=False)
        self._coloured = self._console.color_system is not None and not self._console.no_color
        self._wrapped = self._console.is_terminal
        if not self._wrapped:
            self._console.width = _ENDLESS
        self._begun = self._told = False  # whether there is anything above; whether the legend was shown

    def draw(self, block: Block) -> None:
        match block:
            case Title():
                if self._begun:
                    self._say(Text())
                self._begun = True
                about = Text("  " + _line(block.about) if block.about else "")
                self._wrap(self._words(block.text, "bold") + about, first=Text(), rest=Text("  "))
            case Grid():
                self._grid(block)
            case Note():
                self._wrap(Text(_line(block.text)))
            case Folded() if block.instead:
                self.draw(Title(block.title, block.instead))
            case Body():
                self._signed(Text(visible(block.text)), block.what)
            case Tokens():
                self._tokens(block)
            case Legend() if not self._told:
                self._told = True
                self._say(Text())
                self._say(Text("  ").join(self._painted([piece], [piece[0]]) for piece in block.pieces))

    def _tokens(self, block: Tokens) -> None:
        for what, found in block.runs:
            if what == "skipped":
                self._wrap(self._words(f"… {plural(found, 'token')}", "dim"))
            else:
                self._signed(self.pieces(found), what)

    def pieces(self, pieces: list[Any]) -> Text:
        """Tokens as text."""
        out = self._painted(pieces, pieces_spaced(pieces))
        return out[:-1] if out.plain.endswith("\n") else out

    def _painted(self, pieces: list[Any], texts: list[str]) -> Text:
        """Neighbours that are drawn alike are one stretch of text."""
        shown = [(text, flag, special) for text, (_, _, flag, special) in zip(texts, pieces, strict=True)]
        out = Text()
        if self._coloured:
            for (flag, special), alike in groupby(shown, lambda piece: piece[1:]):
                out.append("".join(text for text, *_ in alike), (_SPECIAL if special else _STYLES)[flag])
            return out
        for flag, alike in groupby(shown, lambda piece: piece[1]):
            inner = "".join(f"⟨{text}⟩" if special else text for text, _, special in alike)
            out.append(_BRACKETS[flag][:1] + inner + _BRACKETS[flag][1:])
        return out

    def _grid(self, block: Grid) -> None:
        table = Table.grid(padding=(0, 2, 0, 0))
        widest = max((len(line) for line in block.lines), default=0)
        for place in range(widest):
            table.add_column(overflow="fold", no_wrap=place == 0 or (widest > 2 and place == widest - 1))
        for cells in block.lines:
            table.add_row(*(Text(_line(cell)) for cell in cells))
        with self._console.capture() as drawn:
            self._console.print(table, width=self._width(2))
        for line in drawn.get().splitlines():
            self._say(_INDENT + Text(line))

    def _signed(self, text: Text, what: str) -> None:
        """The lines of a text, each with the sign of a change."""
        sign, style = _SIGNS[what]
        for line in text.split("\n", allow_blank=True):
            lead = Text("  " + sign, style)
            self._wrap(line, lead, lead)

    def _wrap(self, line: Text, first: Text = _INDENT, rest: Text = _INDENT) -> None:
        """A line, on a terminal as many as it takes; `first` and `rest` stand in front of them."""
        width = self._width(max(len(first), len(rest)))
        for number, part in enumerate(line.wrap(self._console, width, overflow="fold") if self._wrapped else [line]):
            self._say((rest if number else first) + part)

    def _words(self, text: str, style: str) -> Text:
        return Text(_line(text), style if self._coloured else "")

    def _width(self, lead: int) -> int:
        return max(self._console.width - lead, 20) if self._wrapped else _ENDLESS

    def _say(self, text: Text) -> None:
        text.rstrip()  # spaces that mean something are `␣`
        self._console.print(text, soft_wrap=True)


def _line(text: str) -> str:
    """Names and remarks stay on their line, whatever a stranger calls a column."""
    return visible(text).replace("\n", "\\n").replace("\t", "\\t")
