"""A history as one line of text."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import pairwise

_BARS = "▁▂▃▄▅▆▇█"


def sparkline(values: Sequence[float], width: int = 40) -> str:
    """Means of `width` equal stretches as bars between the least and the greatest; flat lines are low bars."""
    if not values:
        return ""
    count = min(width, len(values))
    edges = [i * len(values) // count for i in range(count + 1)]
    means = [sum(values[a:b]) / (b - a) for a, b in pairwise(edges)]
    low, high = min(means), max(means)
    if high <= low:
        return _BARS[0] * count
    return "".join(_BARS[min(int((m - low) / (high - low) * len(_BARS)), len(_BARS) - 1)] for m in means)
