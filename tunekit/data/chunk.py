"""One chunk of a dataset: an Arrow table with the types of its own rows.

A chunk knows nothing of its neighbours, so it has the same bytes in whatever dataset it stands. Beside the columns of
its rows it has two that are never shown as data:

    tunekit:row   binary(32), the digest of the row's content
    tunekit:kind  int32, which of the kinds in the schema's metadata the row itself has; only where rows differ in it

With them any selection of its rows can be a chunk again, byte for byte the one that these rows would have made.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from tunekit.data.arrays import Numbers, array_of, conformed, fixed, indices, numpy_of, settled
from tunekit.data.columns import (
    EMPTY,
    WAY_OUT,
    Kind,
    Mismatch,
    Row,
    clash,
    clash_within,
    from_text,
    is_json,
    join,
    kind_of,
    kind_of_schema,
    mixes,
    schema_of,
    stored,
    to_text,
    unmixed,
    unstored,
)
from tunekit.data.content import digest_of_row
from tunekit.data.gather import gathered
from tunekit.errors import ActionError
from tunekit.hashing import sha256_file

DIGEST, KIND = "tunekit:row", "tunekit:kind"
HIDDEN = (DIGEST, KIND)
_DIGEST = pa.binary(32)
_KINDS = b"tunekit:kinds"

Digests = NDArray[np.uint8]  # [n, 32]
Where = Callable[[int], str]  # the number of a row → what errors call it


class Chunk(NamedTuple):
    """One chunk as `dataset.json` lists it."""

    digest: str
    rows: int
    bytes: int


class Fresh(NamedTuple):
    """New rows. `places[i]`: where row i stands in the chunk that is made."""

    rows: list[Row]
    kinds: list[Kind]
    places: Numbers


NOTHING = Fresh([], [], np.zeros(0, np.int64))


class Pick(NamedTuple):
    """Rows of a chunk that is there: row `numbers[i]` of `table` stands at `places[i]` of the chunk that is made."""

    table: pa.Table
    numbers: Numbers
    places: Numbers


def fresh(rows: Iterable[Row], where: Where) -> Fresh:
    """Rows in their order. Raises ActionError (`mixed-types`, `reserved-column`)."""
    held, kinds = [], []
    for number, row in enumerate(rows):
        if not row.keys().isdisjoint(HIDDEN):
            raise ActionError(f"{where(number)}: columns `tunekit:…` are tunekit's own", slug="reserved-column")
        try:
            kind = kind_of(row)
        except Mismatch:
            raise mixed_types(*clash_within(row), where(number)) from None
        kinds.append(kind)
        held.append(unmixed(row, kind) if mixes(kind) else row)
    return Fresh(held, kinds, np.arange(len(held)))


def mixed_types(column: str, why: str, where: str) -> ActionError:
    return ActionError(f"column `{column}`, {where}: {why}", slug="mixed-types", hint=WAY_OUT)


# -- making one ----------------------------------------------------------------------------------


def compose(new: Fresh, picks: list[Pick], where: Where, before: Kind = EMPTY) -> pa.Table:
    """One chunk of all these rows. `places` of all together are 0 … n - 1. `before`: what the dataset's rows in front
    of it have; only errors ask for it.

    Raises ActionError (`mixed-types`) naming the first row that does not fit, and for what Arrow cannot hold.
    """
    kinds, of_row = _all_kinds(new, picks)
    kind = EMPTY
    try:
        for number in _first_of_each(of_row):
            kind = join(kind, kinds[of_row[number]])
    except Mismatch:
        raise first_clash(before, kinds, of_row, where) from None
    copied, restored = [], []
    for pick in picks:
        same, others = _as_stored(pick, kind)
        copied += [same] if len(same.numbers) else []
        restored += others
    new = _added(new, restored)
    pieces = [_table_of(new, kind, where)] if new.rows else []
    places = [new.places] if new.rows else []
    for pick in copied:
        pieces.append(_copied(pick, kind))
        places.append(pick.places)
    table = pieces[0] if len(pieces) == 1 else pa.concat_tables(pieces)
    order = np.argsort(np.concatenate(places), kind="stable")
    if (order[:-1] > order[1:]).any():
        table = gathered([table], np.zeros(len(order), np.int64), order)
    return _with_kinds(table, kinds, of_row)


def first_clash(before: Kind, kinds: list[Kind], of_row: Numbers, where: Where) -> ActionError:
    """The first row that does not fit the rows before it. `kinds[of_row[i]]` is what row i has; they do not all fit."""
    for number in _first_of_each(of_row):
        kind = kinds[of_row[number]]
        try:
            before = join(before, kind)
        except Mismatch:
            return mixed_types(*clash(before, kind), where(number))
    raise AssertionError("the rows fit")


def portion(table: pa.Table, start: int, stop: int, where: Where) -> pa.Table:
    """Rows start:stop of a chunk as a chunk of their own. `where`: what errors call a row of that one."""
    numbers = np.arange(start, stop)
    return compose(NOTHING, [Pick(table, numbers, numbers - start)], where)


def _all_kinds(new: Fresh, picks: list[Pick]) -> tuple[list[Kind], Numbers]:
    """All kinds of rows, and which of them each row of the new chunk has."""
    kinds: dict[Kind, int] = {}
    of_row = np.zeros(len(new.rows) + sum(len(p.numbers) for p in picks), np.int64)
    of_row[new.places] = [kinds.setdefault(k, len(kinds)) for k in new.kinds]
    for pick in picks:
        own, numbers = row_kinds(pick.table)
        ids = np.array([kinds.setdefault(k, len(kinds)) for k in own])
        of_row[pick.places] = ids[numbers[pick.numbers]]
    return list(kinds), of_row


def _first_of_each(values: Numbers) -> list[int]:
    """Where each value is first seen, rising."""
    return sorted(np.unique(values, return_index=True)[1].tolist())


def _as_stored(pick: Pick, kind: Kind) -> tuple[Pick, list[Fresh]]:
    """The rows that a chunk of `kind` stores as theirs does; and the others as they were before they were stored."""
    own, numbers = row_kinds(pick.table)
    among = kind_of_chunk(pick.table.schema)
    found = numbers[pick.numbers]
    others = []
    same = np.ones(len(found), dtype=bool)
    for i in np.unique(found).tolist():
        if stored(own[i], among) == stored(own[i], kind):
            continue
        mine = found == i
        same &= ~mine
        rows = visible(pick.table.take(indices(pick.numbers[mine]))).to_pylist()
        others.append(Fresh([unstored(r, own[i]) for r in rows], [own[i]] * len(rows), pick.places[mine]))
    return Pick(pick.table, pick.numbers[same], pick.places[same]), others


def _added(new: Fresh, more: list[Fresh]) -> Fresh:
    if not more:
        return new
    rows = [row for f in (new, *more) for row in f.rows]
    kinds = [kind for f in (new, *more) for kind in f.kinds]
    return Fresh(rows, kinds, np.concatenate([f.places for f in (new, *more)]))


def _table_of(new: Fresh, kind: Kind, where: Where) -> pa.Table:
    """New rows as columns of `kind`, and their digests, in the order of `new`."""
    schema = schema_of(kind)
    arrays = []
    for field in schema:
        values = [row.get(field.name) for row in new.rows]
        try:
            arrays.append(array_of(values, field.type))
        except (pa.ArrowException, ValueError, TypeError, OverflowError) as e:
            number, why = _first_bad(values, field.type, str(e))
            raise mixed_types(field.name, why, where(int(new.places[number]))) from e
    digests = fixed(_digests(new, kind, pa.Table.from_arrays(arrays, schema=schema), where), _DIGEST)
    return pa.Table.from_arrays([*arrays, digests], schema=schema.append(pa.field(DIGEST, _DIGEST)))


def _first_bad(values: list[Any], type: pa.DataType, why: str) -> tuple[int, str]:
    for number, value in enumerate(values):
        try:
            array_of([value], type)
        except (pa.ArrowException, ValueError, TypeError, OverflowError) as e:
            return number, str(e)
    return 0, why


def _digests(new: Fresh, kind: Kind, table: pa.Table, where: Where) -> Digests:
    """Of the rows as they are stored: where other rows made floats of a row's integers, of the floats; and of what
    is a date or the like, whatever Python had for it."""
    out = bytearray()
    for number, (row, own) in enumerate(zip(new.rows, new.kinds, strict=True)):
        kept = stored(own, kind)
        if kept != own or not is_json(kept):
            (row,) = table.slice(number, 1).to_pylist()
        try:
            out += digest_of_row(row, kept)
        except Mismatch as e:
            raise mixed_types(next(iter(row), ""), str(e), where(int(new.places[number]))) from None
    return np.frombuffer(bytes(out), np.uint8).reshape(-1, 32)


def _copied(pick: Pick, kind: Kind) -> pa.Table:
    """The picked rows as columns of `kind`, with their digests."""
    rows = gathered([pick.table], np.zeros(len(pick.numbers), np.int64), pick.numbers)
    at = {name: i for i, name in enumerate(rows.column_names)}
    schema = schema_of(kind).append(pa.field(DIGEST, _DIGEST))
    columns = [
        conformed(rows.column(at[f.name]).combine_chunks(), f.type) if f.name in at else pa.nulls(len(rows), f.type)
        for f in schema
    ]
    return pa.Table.from_arrays(columns, schema=schema)


def _with_kinds(table: pa.Table, kinds: list[Kind], of_row: Numbers) -> pa.Table:
    """With the kinds of the rows in the order in which they are first seen, if there are several."""
    firsts = _first_of_each(of_row)
    if len(firsts) == 1:
        return table
    used = of_row[firsts]
    renamed = np.zeros(len(kinds), np.int32)
    renamed[used] = np.arange(len(used))
    table = table.append_column(pa.field(KIND, pa.int32()), fixed(renamed[of_row], pa.int32()))
    return table.replace_schema_metadata({_KINDS: json.dumps([to_text(kinds[i]) for i in used])})


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


# -- reading one ---------------------------------------------------------------------------------


def visible(table: pa.Table) -> pa.Table:
    """A chunk's rows without tunekit's own columns."""
    return table.drop_columns([name for name in HIDDEN if name in table.column_names])


def kind_of_chunk(schema: pa.Schema) -> Kind:
    """The kind that holds all rows of a chunk."""
    return kind_of_schema(pa.schema([field for field in schema if field.name not in HIDDEN]))


def row_kinds(table: pa.Table) -> tuple[list[Kind], Numbers]:
    """The kinds of a chunk's rows, and which of them each row has."""
    if KIND not in table.column_names:
        return [kind_of_chunk(table.schema)], np.zeros(len(table), np.int64)
    kinds = [from_text(text) for text in json.loads(table.schema.metadata[_KINDS])]
    return kinds, numpy_of(table.column(KIND)).astype(np.int64)


def digests_of(column: pa.ChunkedArray) -> Digests:
    """A column of digests; mapped, not copied, where it is in one piece."""
    pieces = [
        np.frombuffer(a.buffers()[1], np.uint8, len(a) * 32, a.offset * 32).reshape(-1, 32)
        for a in column.chunks
        if len(a)
    ]
    return pieces[0] if len(pieces) == 1 else np.concatenate([np.zeros((0, 32), np.uint8), *pieces])


def begins_of(digests: Digests) -> NDArray[np.uint64]:
    """The first 8 bytes of each."""
    return np.ascontiguousarray(digests[:, :8]).view(np.uint64).ravel()
