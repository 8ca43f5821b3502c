"""The dataset artifact: `dataset.json` and content-addressed chunks of rows, read only chunk by chunk.

dataset.json           {"format": 1, "shape", "schema": {column: arrow type}, "rows",
                        "chunks": [{"digest": "sha256:…", "rows", "bytes"}]}
chunks/<64 hex>.arrow  an uncompressed Arrow IPC file; its name is the sha256 of its bytes
"""

from __future__ import annotations

import json
import os
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any, NamedTuple

import pyarrow as pa

from tunekit.data.columns import Row, schema_of, table_of
from tunekit.errors import ActionError
from tunekit.hashing import hex_of, sha256_file

FORMAT = 1
_SLICE = 1024  # rows turned into Python objects at a time


class Chunk(NamedTuple):
    """One chunk as `dataset.json` lists it."""

    digest: str
    rows: int
    bytes: int


class Dataset(NamedTuple):
    """An opened dataset; nothing but `dataset.json` has been read yet."""

    path: Path
    shape: str
    rows: int
    schema: dict[str, str]
    chunk_list: list[Chunk]

    def chunks(self) -> Iterator[tuple[str, pa.Table]]:
        """`(digest, table)` in order; a table is memory-mapped and holds one chunk's rows."""
        for chunk in self.chunk_list:
            yield chunk.digest, map_table(chunk_file(self.path, chunk.digest))

    def iter_rows(self) -> Iterator[Row]:
        """Every row as a dict, in order; a field that a row did not have is None."""
        for _, table in self.chunks():
            yield from iter_table(table)


def open_dataset(path: str | os.PathLike[str]) -> Dataset:
    """The dataset in a directory. Raises ActionError (`not-a-dataset`)."""
    root = Path(path)
    body = read_index(root / "dataset.json", FORMAT, "dataset")
    return Dataset(root, body["shape"], body["rows"], body["schema"], [Chunk(**c) for c in body["chunks"]])


def write_dataset(
    path: str | os.PathLike[str], rows: Iterable[Row], shape: str, chunk_rows: int | None = None
) -> Dataset:
    """Write rows as a dataset into `path` (created), `chunk_rows` to a chunk; default: one chunk.

    The same rows give the same bytes in any folder and process.
    Raises ActionError (`empty-dataset`, `mixed-types`).
    """
    held = list(rows)
    if not held:
        raise ActionError(
            "the dataset has no rows", slug="empty-dataset", hint="look at `split`, `limit` and what `map` drops"
        )
    root = Path(path)
    (root / "chunks").mkdir(parents=True, exist_ok=True)
    schema = schema_of(held)
    step = chunk_rows or len(held)
    # Each chunk is built from its own rows, never sliced from a bigger table: a slice may carry stray bits.
    chunks = [_write_chunk(root, table_of(held[i : i + step], schema, i)) for i in range(0, len(held), step)]
    index = {
        "format": FORMAT,
        "shape": shape,
        "schema": {field.name: str(field.type) for field in schema},
        "rows": len(held),
        "chunks": [c._asdict() for c in chunks],
    }
    write_index(root / "dataset.json", index)
    return Dataset(root, shape, len(held), index["schema"], chunks)  # type: ignore[arg-type]


def _write_chunk(root: Path, table: pa.Table) -> Chunk:
    loose = root / "chunks" / ".writing"
    with pa.OSFile(str(loose), "wb") as sink, pa.ipc.new_file(sink, table.schema) as writer:
        writer.write_table(table)
    digest = sha256_file(loose)
    size = loose.stat().st_size
    loose.rename(chunk_file(root, digest))
    return Chunk(digest, table.num_rows, size)


def chunk_file(root: Path, digest: str) -> Path:
    return root / "chunks" / f"{hex_of(digest)}.arrow"


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


def read_index(file: Path, format: int, what: str) -> dict[str, Any]:
    """The JSON index of an artifact of ours. Raises ActionError (`not-a-<what>`)."""
    slug = f"not-a-{what}"
    try:
        body = json.loads(file.read_bytes())
    except (OSError, ValueError) as e:
        raise ActionError(f"{file} cannot be read: {e}", slug=slug) from e
    if not isinstance(body, dict) or body.get("format") != format:
        raise ActionError(f"{file} is not format {format}", slug=slug, hint="build it again with this tunekit")
    return body


def write_index(file: Path, body: dict[str, Any]) -> None:
    """Sorted keys, one trailing newline: equal structures give equal bytes."""
    file.write_text(json.dumps(body, sort_keys=True, indent=1, ensure_ascii=False) + "\n", encoding="utf-8")
