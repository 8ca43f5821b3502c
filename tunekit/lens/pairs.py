"""What stands in each other's place: the rows of a gap, one by one."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, NamedTuple, TypeVar

from tunekit.lens.align import Gap

_AREA = 400  # pairs of rows of a gap that are compared by what is in them
_ROWS = 2000  # rows that are read for that

T = TypeVar("T")


class Change(NamedTuple):
    """A row that went (`before`), came (`after`), or both: it was edited."""

    before: int | None
    after: int | None

    @property
    def what(self) -> str:
        if self.before is None:
            return "added"
        return "removed" if self.after is None else "edited"


def changes(
    gaps: list[Gap],
    read_old: Callable[[list[int]], dict[int, T]],
    read_new: Callable[[list[int]], dict[int, T]],
    likeness: Callable[[T, T], float],
) -> list[Change]:
    """In a gap with as many rows on both sides the n-th became the n-th. In another, rows are paired by their likeness
    where the gap is small, else from its start. `read_*`: rows by number; a bounded count of them is read."""
    chosen: list[Gap] = []
    count = 0
    for gap in gaps:
        size = len(gap.gone) + len(gap.come)
        uneven = gap.gone and gap.come and len(gap.gone) != len(gap.come)
        if uneven and len(gap.gone) * len(gap.come) <= _AREA and count + size <= _ROWS:
            chosen.append(gap)
            count += size
    old = read_old([n for gap in chosen for n in gap.gone]) if chosen else {}
    new = read_new([n for gap in chosen for n in gap.come]) if chosen else {}
    by_likeness = {id(gap) for gap in chosen}
    out: list[Change] = []
    for gap in gaps:
        if id(gap) in by_likeness:
            table = [[likeness(old[a], new[b]) for b in gap.come] for a in gap.gone]
            paired = best_pairs(table)
        else:
            paired = [(i, i) for i in range(min(len(gap.gone), len(gap.come)))]
        out += _in_order(gap, paired)
    return out


def best_pairs(likeness: Sequence[Sequence[float]]) -> list[tuple[int, int]]:
    """The pairs (i, j), rising on both sides, whose likenesses have the greatest sum; rows that share nothing are
    not paired."""
    height, width = len(likeness), len(likeness[0]) if likeness else 0
    best = [[0.0] * (width + 1) for _ in range(height + 1)]
    for i in reversed(range(height)):
        for j in reversed(range(width)):
            best[i][j] = max(best[i + 1][j], best[i][j + 1], likeness[i][j] + best[i + 1][j + 1])
    pairs = []
    i = j = 0
    while i < height and j < width:
        if best[i][j] == best[i + 1][j]:
            i += 1
        elif best[i][j] == best[i][j + 1]:
            j += 1
        else:
            pairs.append((i, j))
            i, j = i + 1, j + 1
    return pairs


def _in_order(gap: Gap, pairs: list[tuple[int, int]]) -> list[Change]:
    out: list[Change] = []
    i = j = 0
    for left, right in [*pairs, (len(gap.gone), len(gap.come))]:
        out += [Change(n, None) for n in gap.gone[i:left]]
        out += [Change(None, n) for n in gap.come[j:right]]
        if left < len(gap.gone):
            out.append(Change(gap.gone[left], gap.come[right]))
        i, j = left + 1, right + 1
    return out


def leaves(value: Any, path: str = "") -> dict[str, Any]:
    """What a row is made of: `messages[0].content` → its value. Empty lists and tables are leaves; null is nothing."""
    if isinstance(value, dict) and value:
        found = [(f"{path}.{name}" if path else str(name), item) for name, item in value.items()]
    elif isinstance(value, list) and value:
        found = [(f"{path}[{number}]", item) for number, item in enumerate(value)]
    else:
        return {} if value is None else {path: value}
    return {name: leaf for inner, item in found for name, leaf in leaves(item, inner).items()}


def rows_alike(old: dict[str, Any], new: dict[str, Any]) -> float:
    """0 … 1: how much of two rows is the same, leaf by leaf."""
    left, right = leaves(old), leaves(new)
    names = left.keys() | right.keys()
    return sum(_leaves_alike(left.get(n), right.get(n)) for n in names) / max(len(names), 1)


def _leaves_alike(old: Any, new: Any) -> float:
    if isinstance(old, str) and isinstance(new, str):
        return texts_alike(old, new)
    return float(old == new)


def texts_alike(old: Sequence[Any], new: Sequence[Any]) -> float:
    """0 … 1: how much of two texts (or lists of ids) is the same at their beginning and their end."""
    if old == new:
        return 1.0
    most = min(len(old), len(new))
    start = next((i for i in range(most) if old[i] != new[i]), most)
    end = next((i for i in range(most - start) if old[-1 - i] != new[-1 - i]), most - start)
    return (start + end) / max(len(old), len(new))
