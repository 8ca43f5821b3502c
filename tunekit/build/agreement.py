"""Whether two attempts of a key agree: the same bytes, or close figures where bits are not promised.

On a CPU every kind promises its bits. Where a record says otherwise (`determinism` of a training on CUDA),
floating-point figures of the summary may differ by `Kind.tolerance`, times the figure where that is above 1; counts
may not.
"""

from __future__ import annotations

from typing import Any, NamedTuple

from tunekit.kinds import kind_of
from tunekit.lockfile import ResultBlock

BITWISE = "cpu-bitwise"


class Figure(NamedTuple):
    """One figure of the summary, in both attempts; `close`: within the tolerance."""

    name: str
    old: float | None
    new: float | None
    close: bool


class Agreement(NamedTuple):
    """`promised`: the bits of both are. `figures`: those that differ."""

    same_bytes: bool
    promised: bool
    tolerance: float
    figures: list[Figure]

    @property
    def holds(self) -> bool:
        return self.same_bytes or (not self.promised and all(f.close for f in self.figures))

    def __str__(self) -> str:
        if self.same_bytes:
            return "the same bytes"
        told = ", ".join(f"{f.name} {_show(f.old)} → {_show(f.new)}{'' if f.close else ' (!)'}" for f in self.figures)
        if not told:
            return "other bytes" if self.promised else "other bytes, no figure differs"
        if self.promised:
            return f"other bytes: {told}"
        within = "within" if all(f.close for f in self.figures) else "not within"
        return f"other bytes, figures {within} {self.tolerance:g}: {told}"


def agreement(old: dict[str, Any], new: dict[str, Any]) -> Agreement:
    """Of two records of one key."""
    return _compared(figures_of(old), old["outputs"], determinism_of(old), new)


def agrees(promoted: ResultBlock, new: dict[str, Any]) -> Agreement:
    """Of a record with what the lock says of the promoted one."""
    return _compared(promoted.metrics, promoted.outputs, promoted.determinism, new)


def _compared(figures: dict[str, float], outputs: dict[str, str], determinism: str, new: dict[str, Any]) -> Agreement:
    tolerance, found = kind_of(new["kind"]).tolerance, figures_of(new)
    differing = [
        Figure(name, figures.get(name), found.get(name), _close(figures.get(name), found.get(name), tolerance))
        for name in [*figures, *(n for n in found if n not in figures)]
        if figures.get(name) != found.get(name)
    ]
    promised = BITWISE == determinism == determinism_of(new)
    return Agreement(outputs == new["outputs"], promised, tolerance, differing)


def determinism_of(record: dict[str, Any]) -> str:
    """What a record promises of its bits; a room that says nothing promises them."""
    return str(record["effective"].get("determinism", BITWISE))


def figures_of(record: dict[str, Any]) -> dict[str, float]:
    """The numbers of a record's summary that say how it went; at which step the best one was is none of them."""
    summary = record["effective"].get("summary", {})
    found = summary if isinstance(summary, dict) else {}
    return {
        name: value
        for name, value in found.items()
        if type(value) in (int, float) and abs(value) < float("inf") and name != "best_step"
    }


def _close(old: float | None, new: float | None, tolerance: float) -> bool:
    if old is None or new is None or isinstance(old, int) or isinstance(new, int):
        return False
    return abs(new - old) <= tolerance * max(1.0, abs(old))


def _show(value: float | None) -> str:
    return "(none)" if value is None else f"{value:.6g}"
