"""Numbers and histograms in words, for the terminal and for the page."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

_BARS = "▁▂▃▄▅▆▇█"


def count(value: float) -> str:
    """`12,345`, `0.448`."""
    return f"{value:,.0f}" if float(value).is_integer() and abs(value) < 1e15 else f"{value:.3g}"


def plural(number: int, word: str) -> str:
    return f"{count(number)} {word}{'s' * (number != 1)}"


def bars(counts: Sequence[int]) -> str:
    """A histogram on one line; an empty bin is a space, a bin with anything in it is seen."""
    most = max(counts, default=0)
    return "".join(" " if not n else _BARS[(n * len(_BARS) - 1) // most] for n in counts)


def spread(found: dict[str, Any] | None, unit: str = "") -> str:
    """`1 … 3 items, median 2`."""
    if found is None:
        return ""
    tail = f" {unit}" if unit else ""
    if found["min"] == found["max"]:
        return f"{count(found['min'])}{tail.removesuffix('s') if found['min'] == 1 else tail}"
    return f"{count(found['min'])} … {count(found['max'])}{tail}, median {count(found['median'])}"


def histogram(found: dict[str, Any] | None) -> str:
    """The bars of a spread, if it has any."""
    if found is None or len(found["counts"]) < 2:
        return ""
    return "▕" + bars(found["counts"]) + "▏" + (" log" if found["log"] else "")


def looked(number: int, total: int) -> str:
    """How much statistics are made of."""
    if number == total:
        return f"all {plural(total, 'row')}"
    return f"{count(number)} of {count(total)} rows, evenly spread; --all: every row"
