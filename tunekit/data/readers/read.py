"""One file to blocks of rows."""

from __future__ import annotations

import codecs
import os
from collections.abc import Iterator
from pathlib import Path

import pyarrow as pa

from tunekit.data.columns import Row
from tunekit.data.readers.blocks import Block, Lines
from tunekit.data.readers.files import Warn
from tunekit.data.readers.items import split_items
from tunekit.data.readers.lines import split_lines
from tunekit.data.readers.parse import parse_all
from tunekit.data.readers.streams import Torn, not_text, open_stream
from tunekit.data.readers.tables import read_arrow, read_parquet
from tunekit.data.readers.texts import read_csv, read_document
from tunekit.errors import ActionError

_TABLE = {"parquet": read_parquet, "arrow": read_arrow}


def read_blocks(name: str, path: Path, reader: str, warn: Warn, encoding: str = "utf-8") -> Iterator[Block]:
    """Blocks of one file, in order. `name` is what errors call it, `reader` one that `data_files` gave.

    Warns about a file without rows (`empty-file`). Raises ActionError: `bad-file` (torn, or not what its name says),
    `bad-line`, `bad-row`, `not-utf8`, `bad-encoding`, `row-too-long`, `file-changed`.
    """
    rows = 0
    try:
        before = _stamp(path)
        for block in _blocks(name, path, reader, encoding):
            rows += block.n
            if block.n:
                yield block
        if _stamp(path) != before:
            raise ActionError(f"{name} changed while it was read", slug="file-changed", hint="build again")
    except UnicodeError as e:
        raise not_text(name, path, encoding) from e
    except (Torn, OSError, pa.ArrowException) as e:
        message = f"{name} cannot be read as {reader}" if not rows else f"{name} is broken after {rows} rows"
        raise ActionError(f"{message}: {e}", slug="bad-file", hint="is the file whole?") from e
    if not rows:
        warn("empty-file", f"{name} has no rows")


def _blocks(name: str, path: Path, reader: str, encoding: str) -> Iterator[Block]:
    if reader in _TABLE:
        if codecs.lookup(encoding).name != "utf-8":
            raise ActionError(f"{name}: {reader} has no encoding", slug="bad-encoding", hint="remove `encoding`")
        yield from _TABLE[reader](name, path)
        return
    with open_stream(name, path, encoding) as stream:
        if reader in ("csv", "tsv"):
            yield from read_csv(name, stream, reader)
        elif reader == "text":
            yield from read_document(name, stream)
        elif reader == "json":
            yield from split_items(name, stream)
        else:
            yield from split_lines(name, stream, reader)


def read_file(name: str, path: Path, reader: str, warn: Warn, encoding: str = "utf-8") -> Iterator[Row]:
    """The rows of `read_blocks`, parsed."""
    for block in read_blocks(name, path, reader, warn, encoding):
        yield from rows_of(block)


def rows_of(block: Block) -> list[Row]:
    return parse_all(block) if isinstance(block, Lines) else block.rows


def _stamp(path: Path) -> tuple[int, int, int]:
    found = os.stat(path)
    return found.st_ino, found.st_size, found.st_mtime_ns
