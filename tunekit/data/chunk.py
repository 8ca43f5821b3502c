"""Rows to one chunk of a dataset: an Arrow table with the types of its own rows and a digest of each row's content.

A chunk knows nothing of its neighbours, so it has the same bytes in whatever dataset it stands.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from tunekit.data.arrays import array_of, conformed, fixed, indices, settled
from tunekit.data.columns import (
    EMPTY,
    WAY_OUT,
    Kind,
    Mismatch,
    Row,
    clash,
    clash_within,
    join,
    kind_of,
    schema_of,
    stored,
)
from tunekit.data.content import digest_of_row
from tunekit.errors import ActionError
from tunekit.hashing import sha256_file

ROW = "tunekit:row"  # the column of digests: of every chunk, never shown as data
DIGEST = pa.binary(32)

Digests = NDArray[np.uint8]  # [n, 32]
Where = Callable[[int], str]  # the number of a row in the chunk → what errors call it


class Chunk(NamedTuple):
    """One chunk as `dataset.json` lists it."""

    digest: str
    rows: int
    bytes: int


def kinds_of(rows: Iterable[Row], where: Where) -> list[Kind]:
    """The kind of every row. Raises ActionError (`mixed-types`, `reserved-column`)."""
    out = []
    for number, row in enumerate(rows):
        if ROW in row:
            raise ActionError(f"{where(number)}: the column `{ROW}` is tunekit's own", slug="reserved-column")
        try:
            out.append(kind_of(row))
        except Mismatch:
            raise mixed_types(*clash_within(row), where(number)) from None
    return out


def joined(kinds: Iterable[Kind], where: Where, known: Kind = EMPTY) -> Kind:
    """The kind that holds all rows and `known`, which holds earlier ones. Raises ActionError (`mixed-types`)."""
    seen: set[Kind] = set()
    for number, kind in enumerate(kinds):
        if kind in seen:
            continue
        seen.add(kind)
        try:
            known = join(known, kind)
        except Mismatch:
            raise mixed_types(*clash(known, kind), where(number)) from None
    return known


def mixed_types(column: str, why: str, where: str) -> ActionError:
    return ActionError(f"column `{column}`, {where}: {why}", slug="mixed-types", hint=WAY_OUT)


def table_of(rows: list[Row], kinds: list[Kind], kind: Kind, where: Where) -> pa.Table:
    """Rows of these kinds as a table of `kind`, which holds them all, and the column of digests.

    Raises ActionError (`mixed-types`) for a value that Arrow cannot hold.
    """
    schema = schema_of(kind)
    arrays = []
    for field in schema:
        values = [row.get(field.name) for row in rows]
        try:
            arrays.append(array_of(values, field.type))
        except (pa.ArrowException, ValueError, TypeError, OverflowError) as e:
            number, why = _first_bad(values, field.type, str(e))
            raise mixed_types(field.name, why, where(number)) from e
    table = pa.Table.from_arrays(arrays, schema=schema)
    return with_digests(table, _digests(rows, kinds, kind, table, where))


def _first_bad(values: list[Any], type: pa.DataType, why: str) -> tuple[int, str]:
    for number, value in enumerate(values):
        try:
            array_of([value], type)
        except (pa.ArrowException, ValueError, TypeError, OverflowError) as e:
            return number, str(e)
    return 0, why


def _digests(rows: list[Row], kinds: list[Kind], kind: Kind, table: pa.Table, where: Where) -> Digests:
    """Of the rows as they are stored: where other rows made floats of a row's integers, of the floats."""
    out = bytearray()
    for number, (row, own) in enumerate(zip(rows, kinds, strict=True)):
        kept = stored(own, kind)
        if kept != own:
            (row,) = table.slice(number, 1).to_pylist()
        try:
            out += digest_of_row(row, kept)
        except Mismatch as e:
            raise mixed_types(next(iter(row), ""), str(e), where(number)) from None
    return np.frombuffer(bytes(out), np.uint8).reshape(-1, 32)


def with_digests(table: pa.Table, digests: Digests) -> pa.Table:
    return table.append_column(pa.field(ROW, DIGEST), fixed(digests, DIGEST))


def digests_of(table: pa.Table) -> Digests:
    """[n, 32]: the digests of a chunk's rows, mapped, not copied."""
    return digests_in(table.column(ROW))


def digests_in(column: pa.ChunkedArray) -> Digests:
    pieces = [
        np.frombuffer(a.buffers()[1], np.uint8, len(a) * 32, a.offset * 32).reshape(-1, 32)
        for a in column.chunks
        if len(a)
    ]
    return pieces[0] if len(pieces) == 1 else np.concatenate([np.zeros((0, 32), np.uint8), *pieces])


def gathered(pieces: list[tuple[pa.Table, Any]], order: Any, kind: Kind) -> pa.Table:
    """Rows of several chunks as one table of `kind`: of each piece the rows with these numbers, all pieces one after
    another, then in `order`. The pieces' values are held by `kind`, whatever else their tables could hold."""
    schema = schema_of(kind).append(pa.field(ROW, DIGEST))
    taken = []
    for table, numbers in pieces:
        rows = table.take(indices(numbers))
        at = {name: i for i, name in enumerate(rows.column_names)}
        columns = [
            conformed(rows.column(at[f.name]).combine_chunks(), f.type) if f.name in at else pa.nulls(len(rows), f.type)
            for f in schema
        ]
        taken.append(pa.Table.from_arrays(columns, schema=schema))
    return pa.concat_tables(taken).take(indices(order))


def write_chunk(folder: Path, table: pa.Table) -> Chunk:
    """Write a chunk as `<64 hex>.arrow`. Equal rows of equal kinds give equal bytes."""
    columns = [settled(column.combine_chunks()) for column in table.columns]
    batch = pa.RecordBatch.from_arrays(columns, schema=table.schema)
    loose = folder / ".writing"
    loose.unlink(missing_ok=True)
    with pa.OSFile(str(loose), "wb") as sink, pa.ipc.new_file(sink, batch.schema) as writer:
        writer.write_batch(batch)
    digest = sha256_file(loose)
    size = loose.stat().st_size
    loose.rename(folder / f"{digest[7:]}.arrow")
    return Chunk(digest, batch.num_rows, size)
