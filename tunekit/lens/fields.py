"""Rows as JSON values that can be shown: what JSON has no value for as text, long texts cut."""

from __future__ import annotations

import math
from typing import Any

CHARACTERS = 4000  # of one text
_BEFORE = 200  # characters in front of a difference


class Cutter:
    """Makes rows fit to be shown. `around`: a text that must not be cut away; `cut`: whether anything was."""

    def __init__(self, most: int | None = CHARACTERS, around: str = "") -> None:
        self._most = most
        self._around = around
        self.cut = False

    def plain(self, value: Any) -> Any:
        if isinstance(value, dict):
            return {str(name): self.plain(item) for name, item in value.items()}
        if isinstance(value, (list, tuple)):
            kept = value if self._most is None else value[: self._most]
            self.cut = self.cut or len(kept) < len(value)
            return [self.plain(item) for item in kept]
        if isinstance(value, str):
            return self.text(value)
        if isinstance(value, (bytes, memoryview)):
            return f"<{len(value)} bytes>"
        if value is None or isinstance(value, (bool, int)) or (isinstance(value, float) and math.isfinite(value)):
            return value
        return str(value)

    def text(self, value: str) -> str:
        """The beginning of a long text, or what is around the text that was looked for."""
        value = value.encode("utf-8", "backslashreplace").decode()  # a lone surrogate is no character of a page
        if self._most is None or len(value) <= self._most:
            return value
        self.cut = True
        at = max(value.find(self._around), 0) if self._around else 0
        start = max(at - self._most // 4, 0)
        stop = start + self._most
        return ("…" if start else "") + value[start:stop] + ("…" if stop < len(value) else "")

    def difference(self, old: str, new: str) -> tuple[str, str]:
        """Two texts that differ, both from a little before the place where they begin to."""
        if self._most is None or max(len(old), len(new)) <= self._most:
            return old, new
        at = next((i for i, (a, b) in enumerate(zip(old, new, strict=False)) if a != b), min(len(old), len(new)))
        start = max(at - _BEFORE, 0)
        self.cut = self.cut or bool(start)
        lead = "…" if start else ""
        return lead + old[start:], lead + new[start:]


def leaves(value: Any, path: str = "") -> dict[str, Any]:
    """What a row is made of: `messages[0].content` → its value. Empty lists and tables are leaves; null is nothing."""
    if isinstance(value, dict) and value:
        found = [(f"{path}.{name}" if path else str(name), item) for name, item in value.items()]
    elif isinstance(value, list) and value:
        found = [(f"{path}[{number}]", item) for number, item in enumerate(value)]
    else:
        return {} if value is None else {path: value}
    return {name: leaf for inner, item in found for name, leaf in leaves(item, inner).items()}
