"""Rows that hold a text: the strings of a chunk are searched where they lie, no row becomes a Python object."""

from __future__ import annotations

from collections.abc import Iterator
from typing import NamedTuple

import pyarrow as pa
import pyarrow.compute as pc

from tunekit.data.columns import Row
from tunekit.data.rowset import Dataset
from tunekit.errors import ActionError
from tunekit.lens.columns import is_list, is_text
from tunekit.lens.rows import BATCH


class Searched(NamedTuple):
    """A batch that was searched. `rows`: how many rows are behind us with it."""

    batch: pa.RecordBatch
    first: int
    numbers: list[int]  # of the rows in the batch that have the text

    @property
    def rows(self) -> int:
        return self.first + len(self.batch)

    @property
    def found(self) -> int:
        return len(self.numbers)

    def hits(self, most: int) -> Iterator[tuple[int, Row]]:
        """`(row number, row)` of the first that were found."""
        for number in self.numbers[:most]:
            (row,) = self.batch.slice(number, 1).to_pylist()
            yield self.first + number, row


def search(dataset: Dataset, label: str, text: str, ignore_case: bool) -> Iterator[Searched]:
    """Batch by batch the rows with `text` in one of their strings, at any depth.

    Raises ActionError (`nothing-to-search`) for a dataset without strings.
    """
    first = 0
    for _, table in dataset.chunks():
        if not any(_has_text(field.type) for field in table.schema):
            raise ActionError(
                f"{label} has no column with text", slug="nothing-to-search", hint="`--row N` shows rows by number"
            )
        for batch in table.to_batches(max_chunksize=BATCH):
            found: set[int] = set()
            for column in batch.columns:
                found |= _found(column, text, ignore_case)
            yield Searched(batch, first, sorted(found))
            first += len(batch)


def _found(array: pa.Array, text: str, ignore_case: bool) -> set[int]:
    """Which items of an array have the text in them, or in what they are made of."""
    kind = array.type
    if not _has_text(kind):
        return set()
    if pa.types.is_struct(kind):
        return {number for child in array.flatten() for number in _found(child, text, ignore_case)}
    if is_list(kind):
        inner = _found(array.flatten(), text, ignore_case)
        parents = pc.list_parent_indices(array)
        return {parents[number].as_py() for number in inner}
    hits = pc.fill_null(pc.match_substring(array, text, ignore_case=ignore_case), False)
    return set(pc.indices_nonzero(hits).to_pylist())


def _has_text(kind: pa.DataType) -> bool:
    if pa.types.is_struct(kind):
        return any(_has_text(kind.field(i).type) for i in range(kind.num_fields))
    return _has_text(kind.value_type) if is_list(kind) else is_text(kind)
