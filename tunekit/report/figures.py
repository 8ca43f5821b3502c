"""Numbers as people read them."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

_HIDDEN = {"v", "seq", "t", "action", "type", "done", "total", "unit", "schema"}


def seconds(value: float) -> str:
    if value < 10:
        return f"{value:.1f}s"
    if value < 600:
        return f"{value:.0f}s"
    return f"{value / 60:.0f}m"


def number(value: Any) -> str:
    if isinstance(value, float):
        return f"{value:.4g}"
    return str(value)


def figure(name: str, value: Any) -> str:
    """`loss 1.234`, `memory 1.2 GB`."""
    return f"{name} {size(int(value)) if name == 'memory' else number(value)}"


def figures(values: Mapping[str, Any], most: int = 5) -> str:
    """`  loss 1.234  reward 0.5` of an event or a summary; only numbers."""
    shown = [
        figure(name, v)
        for name, v in values.items()
        if name not in _HIDDEN and isinstance(v, (int, float)) and not isinstance(v, bool)
    ]
    return "".join("  " + text for text in shown[:most])


def size(count: int) -> str:
    value = float(count)
    for unit in ("B", "kB", "MB", "GB", "TB"):
        if value < 1000 or unit == "TB":
            return f"{value:.0f} {unit}" if unit == "B" else f"{value:.1f} {unit}"
        value /= 1000
    return str(count)
