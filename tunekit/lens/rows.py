"""Which rows to look at, and how to get at them chunk by chunk."""

from __future__ import annotations

from collections.abc import Iterator
from typing import NamedTuple

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from tunekit.data.arrays import array_of
from tunekit.data.columns import Row
from tunekit.data.rowset import Dataset
from tunekit.errors import ActionError

BATCH = 4096  # rows looked at in one go
_BYTES = 1 << 26  # and what they may take, as far as rows are alike

Places = NDArray[np.int64]


class Slab(NamedTuple):
    """Some rows of a dataset: row `i` of `table` is the dataset's row `numbers[i]`; they rise."""

    numbers: Places
    table: pa.Table


def evenly(total: int, most: int | None) -> Places:
    """Numbers of at most `most` rows of `total`, evenly spread (None: all)."""
    count = total if most is None else min(total, most)
    return np.arange(count, dtype=np.int64) * total // max(count, 1)


def slabs(dataset: Dataset, numbers: Places) -> Iterator[Slab]:
    """The rows of these rising numbers, at most BATCH rows of a chunk at a time, fewer where they are long; other rows
    are not read."""
    first = at = 0
    for _, table in dataset.chunks():
        stop = int(np.searchsorted(numbers, first + len(table)))
        step = max(min(BATCH, _BYTES * len(table) // max(table.nbytes, 1)), 1)
        for start in range(at, stop, step):
            wanted = numbers[start : min(start + step, stop)]
            yield Slab(wanted, _taken(table, wanted - first))
        first, at = first + len(table), stop
        if at == len(numbers):
            return


def _taken(table: pa.Table, local: Places) -> pa.Table:
    """Neighbouring rows are a view, others are copied."""
    if int(local[-1] - local[0]) + 1 == len(local):
        return table.slice(int(local[0]), len(local))
    return table.take(array_of(local.tolist(), pa.int64()))


def rows_of(dataset: Dataset, numbers: Places) -> Iterator[tuple[int, Row]]:
    """`(number, row)` of these rising numbers, one at a time."""
    for slab in slabs(dataset, numbers):
        for i, number in enumerate(slab.numbers.tolist()):
            (row,) = slab.table.slice(i, 1).to_pylist()
            yield number, row


def asked(dataset: Dataset, label: str, rows: list[int]) -> Places:
    """Row numbers that a person wrote. Raises ActionError (`no-such-row`)."""
    wrong = [number for number in rows if not 0 <= number < dataset.rows]
    if wrong:
        raise ActionError(
            f"{label} has no row {wrong[0]}", slug="no-such-row", hint=f"its rows are 0 to {dataset.rows - 1}"
        )
    return np.array(sorted(set(rows)), np.int64)
