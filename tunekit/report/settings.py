"""Nested settings as flat lines, and short values."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from typing import Any


def flat(values: Mapping[str, Any], prefix: str = "") -> Iterator[tuple[str, Any]]:
    """`("gates.loss", "< 3")` for every leaf; lists and empty tables are leaves."""
    for name, value in values.items():
        if isinstance(value, dict) and value:
            yield from flat(value, f"{prefix}{name}.")
        else:
            yield prefix + name, value


def text(value: Any, most: int = 100) -> str:
    """A value on one line."""
    shown = f"{value:.6g}" if isinstance(value, float) else json.dumps(value, ensure_ascii=False)
    return shown if len(shown) <= most else shown[: most - 1] + "…"


def block(title: str, rows: list[tuple[str, str]]) -> list[str]:
    """A titled, aligned block of lines; nothing for no rows."""
    if not rows:
        return []
    width = max(len(name) for name, _ in rows)
    return [title, *(f"  {name:<{width}}  {value}".rstrip() for name, value in rows)]
