"""Tokens as text that says which are trained: by colour, or by marks where there is none."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable
from typing import Any, Protocol

from tunekit.report.look.visible import visible, written

TRAINED, MASKED, STRADDLING = "trained", "masked", "straddling"
_BRACKETS = {TRAINED: ("⟦", "⟧"), MASKED: ("", ""), STRADDLING: ("⟪", "⟫")}
_MARKS = re.compile("[⟦⟧⟪⟫⟨⟩]")


class Paint(Protocol):
    """How text is drawn. A piece is [text, ids, flag, special]."""

    legend: str

    def pieces(self, pieces: Iterable[list[Any]]) -> str: ...

    def word(self, text: str, how: str) -> str:
        """Our own words: `title`, `dim`, `removed`, `added`."""
        ...

    def text(self, text: str) -> str:
        """Text of a row."""
        ...


class Plain:
    """Marks: ⟦trained⟧, ⟪straddling⟫, ⟨special⟩. In the text itself these characters are written out, so that what
    is trained can be read back exactly."""

    legend = "⟦trained⟧ ⟨special token⟩ ⟪straddles an edge: not trained⟫"

    def pieces(self, pieces: Iterable[list[Any]]) -> str:
        out: list[str] = []
        now = MASKED
        for text, _, flag, special in pieces:
            if flag != now:
                out += [_BRACKETS[now][1], _BRACKETS[flag][0]]
                now = flag
            shown = self.text(text)
            out.append(f"⟨{shown}⟩" if special else shown)
        return "".join([*out, _BRACKETS[now][1]])

    def word(self, text: str, how: str) -> str:
        return text

    def text(self, text: str) -> str:
        return _MARKS.sub(lambda found: written(found[0]), visible(text))


# flag, whether special → style
_STYLES = {
    (TRAINED, False): "black on green",
    (TRAINED, True): "bold black on bright_green",
    (STRADDLING, False): "black on yellow",
    (STRADDLING, True): "bold black on yellow",
    (MASKED, True): "bold magenta",
}
_WORDS = {"title": "bold", "dim": "dim", "removed": "red", "added": "green"}


class Colour:
    """Terminal colours. A line end that is trained is shown as ↵, since a line end has no colour."""

    def __init__(self) -> None:
        from rich.color import ColorSystem
        from rich.style import Style

        def styled(style: str) -> Callable[[str], str]:
            made = Style.parse(style)
            return lambda text: made.render(text, color_system=ColorSystem.STANDARD)

        self._styles = {key: styled(style) for key, style in _STYLES.items()}
        self._words = {key: styled(style) for key, style in _WORDS.items()}
        self.legend = " ".join(
            [
                self._styles[TRAINED, False]("trained"),
                "masked",
                self._styles[MASKED, True]("special token"),
                self._styles[STRADDLING, False]("straddles an edge: not trained"),
            ]
        )

    def pieces(self, pieces: Iterable[list[Any]]) -> str:
        return "".join(self._piece(text, flag, special) for text, _, flag, special in pieces)

    def _piece(self, text: str, flag: str, special: bool) -> str:
        shown = visible(text)
        style = self._styles.get((flag, special))
        if style is None:
            return shown
        if flag != MASKED:
            shown = shown.replace("\n", "↵\n")
        return "\n".join(style(line) if line else "" for line in shown.split("\n"))

    def word(self, text: str, how: str) -> str:
        return self._words[how](text)

    def text(self, text: str) -> str:
        return visible(text)
