"""Text of a stranger's rows, fit for a terminal or a page: what cannot be seen, or does something, is written out."""

from __future__ import annotations

import re
from typing import Any

# Control characters (but tab and line end), marks that change the direction of what follows, what has no width (but
# the joiner, which emoji are made with), line ends that only some readers know, lone surrogates.
_HIDDEN = re.compile(
    "[\x00-\x08\x0b-\x1f\x7f-\x9f\u00ad\u061c\u180e\u200b\u200e\u200f\u2028-\u202e\u2060-\u206f\ufeff\ufff9-\ufffb"
    "\U000e0000-\U000e007f\ud800-\udfff]"
)
SPACE, TAB, END = "␣", "⇥", "↵"
_MARKS = re.compile(f"[⟦⟧⟪⟫⟨⟩{SPACE}{TAB}{END}]")
_LONELY = re.compile(r"(?:^|(?<=[ \n\t])) | (?=[ \n\t]|$)")  # spaces that are not one space between two words


def visible(text: str) -> str:
    """The text with such characters as `\\x1b` or `\\u202e`."""
    return _HIDDEN.sub(_written, text)


def spaced(text: str, before: str = "", behind: str = "") -> str:
    """The text with white space that can be told apart as well: `␣` for a space at the edge of a line or beside
    another, `⇥` for a tab, `↵` in front of a line end. What looks like one of our marks is written out, so that the
    text can be read back exactly. `before`, `behind`: the text that stands beside it."""
    around = before[-1:] + visible(_MARKS.sub(_written, text)) + behind[:1]
    marked = _LONELY.sub(SPACE, around)[len(before[-1:]) : len(around) - len(behind[:1])]
    return marked.replace("\t", TAB).replace("\n", END + "\n")


def lined(text: str) -> str:
    """`spaced`, for text of which every line is shown on a line: an end of one is seen only at the end of the text."""
    shown = spaced(text).replace(END + "\n", "\n")
    return shown[:-1] + END if shown.endswith("\n") else shown


def pieces_spaced(pieces: list[list[Any]]) -> list[str]:
    """The text of every piece (text, ids, flag, special), `spaced` as it stands among those of its flag; beside a
    special token, too, a space is at an edge."""
    beside: list[list[Any]] = [[], *pieces, []]
    out = []
    for before, piece, behind in zip(beside, pieces, beside[2:], strict=False):
        texts = [near[0] if near[2:] == piece[2:] and not piece[3] else "" for near in (before, behind)]
        out.append(spaced(piece[0], *texts))
    return out


def _written(found: re.Match[str]) -> str:
    """A character as Python writes it by its number."""
    number = ord(found[0])
    if number < 0x100:
        return f"\\x{number:02x}"
    return f"\\u{number:04x}" if number < 0x10000 else f"\\U{number:08x}"
