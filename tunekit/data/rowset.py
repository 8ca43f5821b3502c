"""The dataset artifact: `dataset.json` and content-addressed chunks of rows, read only chunk by chunk.

dataset.json           {"format": 2, "shape", "schema": {column: arrow type}, "arrow": that schema in base64, "rows",
                        "chunks": [{"digest": "sha256:…", "rows", "bytes"}]}
chunks/<64 hex>.arrow  an uncompressed Arrow IPC file; its name is the sha256 of its bytes

A chunk has the types of its own rows, and columns of tunekit's own (see tunekit.data.chunk). The schema is the union
of all chunks: who reads the dataset sees its types in every chunk, and no other columns.
"""

from __future__ import annotations

import base64
import json
import os
import shutil
from collections.abc import Iterable, Iterator
from itertools import islice
from pathlib import Path
from typing import Any, NamedTuple

import pyarrow as pa

from tunekit.data.arrays import conformed
from tunekit.data.chunk import (
    Chunk,
    Where,
    compose,
    first_clash,
    fresh,
    kind_of_chunk,
    mixed_types,
    row_kinds,
    write_chunk,
)
from tunekit.data.columns import EMPTY, Kind, Mismatch, Row, join, schema_of, stored
from tunekit.errors import ActionError
from tunekit.foreign import json_of
from tunekit.hashing import PREFIX, hex_of

FORMAT = 2
INDEX = "dataset.json"
_SLICE = 1024  # rows turned into Python objects at a time


class Dataset(NamedTuple):
    """An opened dataset; nothing but `dataset.json` has been read yet."""

    path: Path
    shape: str
    rows: int
    schema: pa.Schema
    chunk_list: list[Chunk]

    def chunks(self) -> Iterator[tuple[str, pa.Table]]:
        """`(digest, table)` in order, with the dataset's types; a table is memory-mapped and holds one chunk."""
        for digest, table in self.own_chunks():
            yield digest, as_schema(table, self.schema)

    def own_chunks(self) -> Iterator[tuple[str, pa.Table]]:
        """`(digest, table)` in order, as each chunk was written: its own types, and tunekit's own columns."""
        for number, chunk in enumerate(self.chunk_list):
            yield chunk.digest, self.own_chunk(number)

    def own_chunk(self, number: int) -> pa.Table:
        """One of them."""
        return map_table(chunk_file(self.path, self.chunk_list[number].digest))

    def iter_rows(self) -> Iterator[Row]:
        """Every row as a dict, in order; a field that a row did not have is None."""
        for _, table in self.chunks():
            yield from iter_table(table)


class DatasetWriter:
    """Writes a dataset chunk by chunk. Nothing of a chunk is kept but its line in the index."""

    def __init__(self, path: str | os.PathLike[str]) -> None:
        self.root = Path(path)
        self.kind: Kind = EMPTY  # holds all rows so far
        self._chunks: list[Chunk] = []
        self._kinds: list[Kind] = []
        self._where: list[Where] = []

    @property
    def folder(self) -> Path:
        """Where chunks lie; made when it is first asked for."""
        folder = self.root / "chunks"
        folder.mkdir(parents=True, exist_ok=True)
        return folder

    def add(self, table: pa.Table, where: Where) -> Chunk:
        """Write a chunk (`compose`). Raises ActionError (`mixed-types`) where its types do not fit."""
        chunk = write_chunk(self.folder, table)
        self._take(chunk, table, where)
        return chunk

    def place(self, file: Path, table: pa.Table, where: Where) -> None:
        """Put in a chunk that is written already, under the name of its digest: a hard link where the disk allows
        it, else a copy."""
        chunk = Chunk(PREFIX + file.stem, len(table), file.stat().st_size)
        place_file(file, self.folder / f"{hex_of(chunk.digest)}.arrow")
        self._take(chunk, table, where)

    def _take(self, chunk: Chunk, table: pa.Table, where: Where) -> None:
        kind = kind_of_chunk(table.schema)
        try:
            self.kind = join(self.kind, kind)
        except Mismatch:
            raise first_clash(self.kind, *row_kinds(table), where) from None
        self._chunks.append(chunk)
        self._kinds.append(kind)
        self._where.append(where)

    def finish(self, shape: str) -> Dataset:
        """Write the index of rows of this shape. Raises ActionError (`empty-dataset`, `mixed-types`)."""
        rows = sum(chunk.rows for chunk in self._chunks)
        if not rows:
            raise ActionError(
                "the dataset has no rows", slug="empty-dataset", hint="look at `split`, `limit` and what `map` drops"
            )
        schema = schema_of(self.kind)
        for chunk, kind, where in zip(self._chunks, self._kinds, self._where, strict=True):
            if stored(kind, self.kind) != kind:
                self._check_exact(chunk, schema, where)
        index = {
            "format": FORMAT,
            "shape": shape,
            "schema": {field.name: str(field.type) for field in schema},
            "arrow": base64.b64encode(schema.serialize()).decode(),
            "rows": rows,
            "chunks": [c._asdict() for c in self._chunks],
        }
        write_index(self.root / INDEX, index)
        return Dataset(self.root, shape, rows, schema, self._chunks)

    def _check_exact(self, chunk: Chunk, schema: pa.Schema, where: Where) -> None:
        """Where other chunks made floats of a chunk's integers, every one of them must be the same number."""
        table = map_table(chunk_file(self.root, chunk.digest))
        try:
            as_schema(table, schema)
        except pa.ArrowInvalid:
            for number in range(len(table)):
                for name in schema.names:
                    try:
                        as_schema(table.select([name] if name in table.column_names else []).slice(number, 1), schema)
                    except pa.ArrowInvalid as e:
                        raise mixed_types(name, str(e), where(number)) from e
            raise


def open_dataset(path: str | os.PathLike[str]) -> Dataset:
    """The dataset in a directory. Raises ActionError (`not-a-dataset`)."""
    root = Path(path)
    body = read_index(root / INDEX, FORMAT, "dataset")
    schema = pa.ipc.read_schema(pa.py_buffer(base64.b64decode(body["arrow"])))
    return Dataset(root, body["shape"], body["rows"], schema, [Chunk(**c) for c in body["chunks"]])


def write_dataset(
    path: str | os.PathLike[str], rows: Iterable[Row], shape: str, chunk_rows: int | None = None
) -> Dataset:
    """Write rows as a dataset into `path` (created), `chunk_rows` to a chunk; default: all in one.

    The same rows give the same bytes in any folder and process. Raises ActionError (`empty-dataset`, `mixed-types`).
    """
    writer = DatasetWriter(path)
    left = iter(rows)
    first = 0
    while held := list(islice(left, chunk_rows)):
        start = first

        def where(number: int, start: int = start) -> str:
            return f"row {start + number}"

        writer.add(compose(fresh(held, where), [], where, writer.kind), where)
        first += len(held)
    return writer.finish(shape)


def as_schema(table: pa.Table, schema: pa.Schema) -> pa.Table:
    """A chunk's rows with a dataset's types; columns that need no change are not copied.

    Raises ArrowInvalid for an integer that no float64 equals.
    """
    at = set(table.column_names)
    columns = []
    for field in schema:
        if field.name not in at:
            columns.append(pa.chunked_array([pa.nulls(len(table), field.type)]))
        elif table.schema.field(field.name).type == field.type:
            columns.append(table.column(field.name))
        else:
            found = [conformed(a, field.type) for a in table.column(field.name).chunks]
            columns.append(pa.chunked_array(found, field.type))
    return pa.Table.from_arrays(columns, schema=schema)


def chunk_file(root: Path, digest: str) -> Path:
    return root / chunk_path(digest)


def chunk_path(digest: str) -> str:
    """Where a chunk lies in an artifact."""
    return f"chunks/{hex_of(digest)}.arrow"


def map_table(file: Path) -> pa.Table:
    """An Arrow IPC file as a memory-mapped table. Raises ActionError (`bad-chunk`)."""
    try:
        with pa.memory_map(str(file)) as source:
            return pa.ipc.open_file(source).read_all()
    except (OSError, pa.ArrowException) as e:
        raise ActionError(f"{file} cannot be read: {e}", slug="bad-chunk", hint="tunekit verify") from e


def iter_table(table: pa.Table) -> Iterator[Row]:
    """Rows as dicts, a slice at a time."""
    for batch in table.to_batches(max_chunksize=_SLICE):
        yield from batch.to_pylist()


def place_file(file: Path, target: Path) -> None:
    """A file of an artifact as a file of another one, which it has become equal to: nothing is copied on one disk.

    An object of the store is linked by name, and sealed as what it is: a hard link would change its ctime, so that
    the controller had to hash it again.
    """
    if os.path.lexists(target):
        return
    real = os.path.realpath(file)  # a view of the store holds links
    try:
        (os.symlink if _is_object(real) else os.link)(real, target)
    except OSError:
        shutil.copyfile(real, target)


def _is_object(file: str) -> bool:
    """Whether it lies as the store keeps files: `objects/ab/<64 hex>`."""
    return file[-76:-64] == f"/objects/{file[-64:-62]}/" and not file[-64:].strip("0123456789abcdef")


def read_index(file: Path, format: int, what: str) -> dict[str, Any]:
    """The JSON index of an artifact of ours. Raises ActionError (`not-a-<what>`)."""
    slug = f"not-a-{what}"
    try:
        body = json_of(file.read_bytes())
    except (OSError, ValueError) as e:
        raise ActionError(f"{file} cannot be read: {e}", slug=slug) from e
    if not isinstance(body, dict) or body.get("format") != format:
        raise ActionError(f"{file} is not format {format}", slug=slug, hint="build it again with this tunekit")
    return body


def write_index(file: Path, body: dict[str, Any]) -> None:
    """Sorted keys, one trailing newline: equal structures give equal bytes."""
    file.write_text(json.dumps(body, sort_keys=True, indent=1, ensure_ascii=False) + "\n", encoding="utf-8")
