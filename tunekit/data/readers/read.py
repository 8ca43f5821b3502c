"""One file to blocks of rows."""

from __future__ import annotations

import os
from collections.abc import Iterator
from itertools import islice
from pathlib import Path

from tunekit.data.columns import Row
from tunekit.data.readers.blocks import Block, Lines, Rows
from tunekit.data.readers.files import Warn
from tunekit.data.readers.lines import split_lines
from tunekit.data.readers.old import read_file as _old
from tunekit.data.readers.parse import parse_all
from tunekit.data.readers.streams import Torn, open_stream
from tunekit.errors import ActionError


def read_blocks(name: str, path: Path, reader: str, warn: Warn, encoding: str = "utf-8") -> Iterator[Block]:
    """Blocks of one file, in order. `name` is what errors call it, `reader` one that `data_files` gave.

    Raises ActionError: `bad-file` (torn, unreadable), `bad-line`, `not-utf8`, `file-changed`, `row-too-long`.
    """
    rows = 0
    try:
        before = _stamp(path)
        for block in _blocks(name, path, reader, warn, encoding):
            yield block
            rows += block.n
        if _stamp(path) != before:
            raise ActionError(f"{name} changed while it was read", slug="file-changed", hint="build again")
    except (Torn, OSError) as e:
        raise ActionError(f"{name} cannot be read on after {rows} rows: {e}", slug="bad-file") from e


def _blocks(name: str, path: Path, reader: str, warn: Warn, encoding: str) -> Iterator[Block]:
    if reader == "jsonl":
        with open_stream(name, path, encoding) as stream:
            yield from split_lines(name, stream, reader)
        return
    rows, first = _old(name, path, reader, warn), 0
    while some := list(islice(rows, 1024)):
        yield Rows(name, first, some)
        first += len(some)


def read_file(name: str, path: Path, reader: str, warn: Warn, encoding: str = "utf-8") -> Iterator[Row]:
    """The rows of `read_blocks`, parsed."""
    for block in read_blocks(name, path, reader, warn, encoding):
        yield from rows_of(block)


def rows_of(block: Block) -> list[Row]:
    return parse_all(block) if isinstance(block, Lines) else block.rows


def count_rows(name: str, path: Path, reader: str, encoding: str = "utf-8") -> int:
    """How many rows `read_blocks` gives, parsed only where they cannot be counted otherwise."""
    return sum(block.n for block in read_blocks(name, path, reader, lambda slug, message: None, encoding))


def _stamp(path: Path) -> tuple[int, int, int]:
    found = os.stat(path)
    return found.st_ino, found.st_size, found.st_mtime_ns
