"""What is wrong with a row."""

from __future__ import annotations

import reprlib
from typing import Any

_SHORT = reprlib.Repr()
_SHORT.maxstring = _SHORT.maxother = 60
_SHORT.maxlevel = 2
_SHORT.maxlist = _SHORT.maxdict = 4


class Fault(Exception):
    """Why a row is not of its format, and the way out. The caller adds file and row number."""

    def __init__(self, reason: str, hint: str = "", slug: str = "wrong-shape") -> None:
        super().__init__(reason)
        self.reason = reason
        self.hint = hint or "make it right with a `map`"
        self.slug = slug


def shown(value: Any) -> str:
    """A value in a message: short, whatever it is."""
    return "null" if value is None else _SHORT.repr(value)


def text(value: Any, name: str, hint: str = "", *, empty: bool = False) -> str:
    """`value` if it is a string (that is not empty). Raises Fault."""
    if isinstance(value, str) and (value or empty):
        return value
    raise Fault(f"{name} is {shown(value)}, not a {'' if empty else 'non-empty '}string", hint)


def flag(value: Any, name: str, hint: str = "") -> bool:
    """True and 1, False and 0. Raises Fault."""
    if isinstance(value, (bool, int, float)) and value in (0, 1):
        return bool(value)
    raise Fault(f"{name} is {shown(value)}, not true or false (or 1 or 0)", hint)
