"""Tables that pyarrow reads: Parquet, and Arrow's IPC files and streams (what `datasets` saves to disk).

Values stay what they are: dates are dates, decimals decimals, a dictionary's code is its value. Nanoseconds become
microseconds where that loses nothing, because what Python makes of them depends on whether pandas is installed.
"""

from __future__ import annotations

import mmap
import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pyarrow as pa

from tunekit.data.columns import Row
from tunekit.data.readers.blocks import BLOCK, STEP, Rows
from tunekit.data.readers.sound import check_batch
from tunekit.errors import ActionError

_ROWS = 2048  # rows of a block at most


def read_parquet(name: str, path: Path) -> Iterator[Rows]:
    """Row groups in order, some rows at a time. Raises ActionError (`bad-row`, `twice-named`), ArrowException."""
    import pyarrow.parquet as pq  # 30 ms that other readers need not pay

    # Not pre-buffered: a file may be one row group of gigabytes.
    with pq.ParquetFile(path, pre_buffer=False, buffer_size=STEP, page_checksum_verification=True) as file:
        size = sum(file.metadata.row_group(i).total_byte_size for i in range(file.metadata.num_row_groups))
        some = _some(size, file.metadata.num_rows)
        yield from _blocks(name, file.schema_arrow, file.iter_batches(batch_size=some, use_threads=False))


def read_arrow(name: str, path: Path) -> Iterator[Rows]:
    """Record batches in order. Raises as `read_parquet`; `file-changed` if the file shrinks under the map."""
    mapped = _map(path)
    schema, batches = _batches(mapped)
    yield from _blocks(name, schema, _slices(name, path, batches, mapped))


def _map(path: Path) -> mmap.mmap:
    """The file in memory until nothing refers to it: closing it would fail while Arrow looks at it."""
    with open(path, "rb") as file:
        if not os.fstat(file.fileno()).st_size:
            raise pa.ArrowInvalid("the file is empty")
        return mmap.mmap(file.fileno(), 0, prot=mmap.PROT_READ)


def count_table(name: str, path: Path, reader: str) -> int:
    """Rows of a file of `reader` parquet or arrow, by what it says of itself. Raises ActionError (`bad-file`)."""
    import pyarrow.parquet as pq

    try:
        if reader == "parquet":
            return pq.read_metadata(path).num_rows
        return sum(batch.num_rows for batch in _batches(_map(path))[1])
    except (OSError, ValueError, pa.ArrowException) as e:
        raise ActionError(f"{name} cannot be read as {reader}: {e}", slug="bad-file", hint="is the file whole?") from e


def columns_of_table(path: Path, reader: str) -> list[str]:
    """The columns. Raises OSError, ValueError, ArrowException."""
    import pyarrow.parquet as pq

    if reader == "parquet":
        return pq.read_schema(path).names
    return _batches(_map(path))[0].names


def _batches(mapped: mmap.mmap) -> tuple[pa.Schema, Iterator[pa.RecordBatch]]:
    source = pa.BufferReader(pa.py_buffer(mapped))
    if mapped[:6] == b"ARROW1":
        file = pa.ipc.open_file(source)
        return file.schema, (file.get_batch(i) for i in range(file.num_record_batches))
    stream = pa.ipc.open_stream(source)
    return stream.schema, iter(stream)


def _slices(name: str, path: Path, batches: Iterator[pa.RecordBatch], mapped: mmap.mmap) -> Iterator[pa.RecordBatch]:
    """Pieces of batches. Pages that were read are given back: they would count as this process's memory."""
    while True:
        _still_whole(name, path, mapped)
        batch = next(batches, None)
        if batch is None:
            return
        some = _some(batch.get_total_buffer_size(), batch.num_rows)
        for start in range(0, batch.num_rows, some):
            _still_whole(name, path, mapped)
            piece = batch.slice(start, some)
            check_batch(piece)
            yield piece
            mapped.madvise(mmap.MADV_DONTNEED)


def _still_whole(name: str, path: Path, mapped: mmap.mmap) -> None:
    """To look at a page that the file no longer has would be a bus error."""
    if path.stat().st_size < len(mapped):
        raise ActionError(f"{name} shrank while it was read", slug="file-changed", hint="build again")


def _some(size: int, rows: int) -> int:
    return max(1, min(_ROWS, BLOCK * rows // size)) if size else _ROWS


def _blocks(name: str, schema: pa.Schema, batches: Iterator[pa.RecordBatch]) -> Iterator[Rows]:
    twice = {column for column in schema.names if schema.names.count(column) > 1}
    if twice:
        message = f"{name} has two columns of the name `{sorted(twice)[0]}`"
        raise ActionError(message, slug="bad-file", hint="name every column once")
    wanted = pa.schema([field.with_type(_plain(field.type)) for field in schema])
    first = 0
    for batch in batches:
        rows = _rows(name, first, batch, wanted)
        yield Rows(name, first, rows)
        first += len(rows)


def _rows(name: str, first: int, batch: pa.RecordBatch, schema: pa.Schema) -> list[Row]:
    try:
        return _objects(batch, schema)
    except (ValueError, KeyError, OverflowError, pa.ArrowException):
        for i in range(batch.num_rows):
            try:
                _objects(batch.slice(i, 1), schema)
            except (ValueError, KeyError, OverflowError, pa.ArrowException) as e:
                slug = "not-utf8" if isinstance(e, UnicodeDecodeError) else "bad-row"
                raise ActionError(f"{name}, row {first + i}: a value cannot be read: {e}", slug=slug) from e
        raise


def _objects(batch: pa.RecordBatch, schema: pa.Schema) -> list[Row]:
    options: dict[str, Any] = {"maps_as_pydicts": "strict"} if any(map(_has_map, schema.types)) else {}
    if batch.schema.types != schema.types:
        batch = pa.RecordBatch.from_arrays(
            [column.cast(type) for column, type in zip(batch.columns, schema.types, strict=True)], schema=schema
        )
    return batch.to_pylist(**options)


def _plain(type: pa.DataType) -> pa.DataType:
    """The type with microseconds for nanoseconds."""
    if pa.types.is_timestamp(type) and type.unit == "ns":
        return pa.timestamp("us", type.tz)
    if pa.types.is_duration(type) and type.unit == "ns":
        return pa.duration("us")
    if pa.types.is_time64(type):
        return pa.time64("us")
    if pa.types.is_struct(type):
        return pa.struct([field.with_type(_plain(field.type)) for field in type])
    if pa.types.is_list(type):
        return pa.list_(type.value_field.with_type(_plain(type.value_type)))
    if pa.types.is_large_list(type):
        return pa.large_list(type.value_field.with_type(_plain(type.value_type)))
    return type


def _has_map(type: pa.DataType) -> bool:
    return pa.types.is_map(type) or any(_has_map(type.field(i).type) for i in range(type.num_fields))
