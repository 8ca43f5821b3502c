"""Text of a stranger's rows, fit for a terminal or a page: what cannot be seen, or does something, is written out."""

from __future__ import annotations

import re

# Control characters (but tab and line end), marks that change the direction of what follows, what has no width (but
# the joiner, which emoji are made with), line ends that only some readers know, lone surrogates.
_HIDDEN = re.compile(
    "[\x00-\x08\x0b-\x1f\x7f-\x9f\u00ad\u061c\u180e\u200b\u200e\u200f\u2028-\u202e\u2060-\u206f\ufeff\ufff9-\ufffb"
    "\U000e0000-\U000e007f\ud800-\udfff]"
)


def visible(text: str) -> str:
    """The text with such characters as `\\x1b` or `\\u202e`."""
    return _HIDDEN.sub(lambda found: written(found[0]), text)


def written(character: str) -> str:
    """A character as Python writes it by its number."""
    number = ord(character)
    if number < 0x100:
        return f"\\x{number:02x}"
    return f"\\u{number:04x}" if number < 0x10000 else f"\\U{number:08x}"
