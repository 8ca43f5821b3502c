"""How numbers are spread: a few figures and a histogram, in bounded memory however many numbers there are."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

BINS = 20
_MOST = 1 << 16  # distinct values that are told apart exactly
_DIGITS = 3  # and how far they are beyond that

Numbers = NDArray[np.float64]


class Spread:
    """Takes numbers a batch at a time. Beyond _MOST distinct ones they are rounded to three digits: least, greatest
    and mean stay exact. Values that are not finite are counted apart."""

    def __init__(self) -> None:
        self._values: Numbers = np.zeros(0)
        self._counts: NDArray[np.int64] = np.zeros(0, np.int64)
        self._rounded = False
        self._sum = 0.0
        self._least, self._greatest = np.inf, -np.inf
        self.not_finite = 0

    def add(self, numbers: NDArray[Any]) -> None:
        given = numbers.astype(np.float64)
        finite = given[np.isfinite(given)]
        self.not_finite += len(given) - len(finite)
        if not len(finite):
            return
        with np.errstate(over="ignore", invalid="ignore"):
            self._sum += float(finite.sum())
        self._least = min(self._least, float(finite.min()))
        self._greatest = max(self._greatest, float(finite.max()))
        self._merge(_rounded(finite) if self._rounded else finite, np.ones(len(finite), np.int64))
        if len(self._values) > _MOST and not self._rounded:
            self._rounded = True
            values, counts = _rounded(self._values), self._counts
            self._values, self._counts = np.zeros(0), np.zeros(0, np.int64)
            self._merge(values, counts)

    def _merge(self, values: Numbers, counts: NDArray[np.int64]) -> None:
        both, where = np.unique(np.concatenate([self._values, values]), return_inverse=True)
        self._counts = np.bincount(where, np.concatenate([self._counts, counts])).astype(np.int64)
        self._values = both

    def summary(self) -> dict[str, Any] | None:
        """The figures; None without a number. `edges` are rising, one more than `counts`; a bin holds what is at least
        its lower edge and less than its upper one, the last one also that."""
        total = int(self._counts.sum())
        if not total:
            return None
        mean = self._sum / total
        median = float(self._values[np.searchsorted(np.cumsum(self._counts), (total + 1) // 2)])
        edges, log = self._edges(median)
        # rounding may have moved a value beyond the exact ends
        counts, _ = np.histogram(np.clip(self._values, edges[0], edges[-1]), edges, weights=self._counts)
        return {
            "count": total,
            "min": self._least,
            "max": self._greatest,
            "mean": mean if np.isfinite(mean) else None,
            "median": min(max(median, self._least), self._greatest),
            "edges": edges.tolist(),
            "counts": counts.astype(np.int64).tolist(),
            "log": log,
        }

    def _edges(self, median: float) -> tuple[Numbers, bool]:
        """One bin a number where the numbers are few and whole, else equal bins; of lengths with a long tail, equal
        ones of their logarithms."""
        low, high = self._least, self._greatest
        if low == high:
            return np.array([low, np.nextafter(high, np.inf)]), False
        whole = bool((self._values == np.floor(self._values)).all())
        if whole and high - low < BINS:
            return np.arange(low, high + 2), False
        if low >= 0 and high > 32 * max(median, 1.0):
            start = [] if low >= 1 else [low]
            return np.concatenate([start, np.geomspace(max(low, 1.0), high, BINS + 1 - len(start))]), True
        with np.errstate(over="ignore", invalid="ignore"):
            edges = np.linspace(low, high, BINS + 1)
            rising = bool((np.diff(edges) > 0).all()) and bool(np.isfinite(edges).all())
        return (edges if rising else np.array([low, high])), False


def _rounded(values: Numbers) -> Numbers:
    """To three significant digits."""
    size = np.where(values == 0, 1.0, np.abs(values))
    scale = 10.0 ** np.clip(np.floor(np.log10(size)) - (_DIGITS - 1), -300, 300)
    return np.round(values / scale) * scale
