"""Rows that hold a text: the strings of a chunk are searched where they lie, no row becomes a Python object."""

from __future__ import annotations

from collections.abc import Iterator

import pyarrow as pa
import pyarrow.compute as pc

from tunekit.data.rowset import Dataset
from tunekit.errors import ActionError
from tunekit.lens.columns import is_list, is_text
from tunekit.lens.rows import BATCH


def search(
    dataset: Dataset, label: str, text: str, ignore_case: bool
) -> Iterator[tuple[int, pa.RecordBatch, list[int]]]:
    """Batch by batch the rows with `text` in one of their strings, at any depth: the number of the batch's first row,
    the batch, and which of its rows have the text.

    Raises ActionError (`nothing-to-search`) for a dataset without strings.
    """
    first = 0
    for _, table in dataset.chunks():
        if not any(_has_text(field.type) for field in table.schema):
            raise ActionError(
                f"{label} has no column with text", slug="nothing-to-search", hint="`--row N` shows rows by number"
            )
        for batch in table.to_batches(max_chunksize=BATCH):
            found = (_found(column, text, ignore_case) for column in batch.columns)
            yield first, batch, sorted(set().union(*found))
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
