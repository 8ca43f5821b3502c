"""Labels: `kind:name[.point][@output][#step]`, the same in TOML, on the command line and in records."""

from __future__ import annotations

import re
from typing import NamedTuple

NAME = re.compile(r"[a-z0-9][a-z0-9_-]{0,63}\Z")
_LABEL = re.compile(
    r"(?P<kind>[a-z][a-z0-9_]*):(?P<name>[a-z0-9][a-z0-9_-]{0,63}(?:\.[a-z0-9][A-Za-z0-9_+.-]*)?)"
    r"(?:@(?P<output>[a-z][a-z0-9_-]*))?(?:#(?P<step>[a-z][a-z0-9_-]*))?\Z"
)


class Label(NamedTuple):
    kind: str
    name: str
    output: str = ""
    step: str = ""

    def __str__(self) -> str:
        return (
            f"{self.kind}:{self.name}"
            + (f"@{self.output}" if self.output else "")
            + (f"#{self.step}" if self.step else "")
        )

    @property
    def target(self) -> str:
        """`kind:name`, without output and step."""
        return f"{self.kind}:{self.name}"


def parse_label(text: str) -> Label | None:
    """The label in `text`, or None if it is not one."""
    m = _LABEL.match(text)
    return Label(m["kind"], m["name"], m["output"] or "", m["step"] or "") if m else None


def came_from(name: str, inner: int, number: int) -> str:
    """What errors say behind `row <number>`: the file (or dataset) that the row came from, and its number there."""
    if not name:
        return ""
    return f" ({name}, its row {inner})" if inner != number else f" ({name})"
