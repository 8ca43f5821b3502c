"""Text that Python itself cuts: a document a file, and CSV.

CSV has no types, so its values stay strings: guessing would turn the answer `007` into 7. The standard library's
parser is the strict one: pyarrow's takes a quoted cell that is cut off, and text behind a closing quote.
"""

from __future__ import annotations

import csv
import io
from collections.abc import Iterator
from typing import Any

from tunekit.data.columns import Row
from tunekit.data.readers.blocks import BLOCK, LONGEST, STEP, Rows, too_long
from tunekit.data.readers.streams import Stream, Torn
from tunekit.errors import ActionError

_ROWS = 8192  # rows of a block at most: a dict of short cells is many times their bytes


def read_document(name: str, stream: Stream) -> Iterator[Rows]:
    """The whole file as one row; none if it is empty. Raises ActionError (`row-too-long`), UnicodeDecodeError."""
    pieces: list[bytes] = []
    held = 0
    while piece := stream.read(STEP):
        pieces.append(piece)
        held += len(piece)
        if held > LONGEST:
            raise too_long(name)
    if held:
        yield Rows(name, 0, [{"text": b"".join(pieces).decode(), "file": name}])


def header_of(stream: Stream, reader: str) -> list[str]:
    """The columns that the first line names. Raises csv.Error, UnicodeError."""
    return next(filter(None, _cells(_Source(stream), reader)), [])


def read_csv(name: str, stream: Stream, reader: str) -> Iterator[Rows]:
    """Rows of a file (csv or tsv) whose first line names the columns; a line without a sign is no row.

    Raises ActionError (`bad-line`), Torn, UnicodeDecodeError.
    """
    source = _Source(stream)
    lines = _cells(source, reader)
    rows: list[Row] = []
    first = begun = 0
    try:
        header: list[str] = next(filter(None, lines), [])
        if not header or len(set(header)) < len(header):
            raise ActionError(f"{name}:1: the first line must name every column once", slug="bad-line")
        for cells in filter(None, lines):
            if len(cells) != len(header):
                message = f"{name}:{lines.line_num}: {len(cells)} cells, the header has {len(header)}"
                raise ActionError(message, slug="bad-line", hint="quote cells that hold a separator or a line break")
            rows.append(dict(zip(header, cells, strict=True)))
            if source.taken - begun >= BLOCK or len(rows) == _ROWS:
                yield Rows(name, first, rows)
                first, begun, rows = first + len(rows), source.taken, []
    except csv.Error as e:
        raise ActionError(f"{name}:{lines.line_num}: not CSV: {e}", slug="bad-line") from e
    except Torn:
        yield Rows(name, first, rows)
        raise
    if rows:
        yield Rows(name, first, rows)


def _cells(source: _Source, reader: str) -> Any:
    """The standard library's reader: an iterator over lists of cells that knows its line."""
    csv.field_size_limit(LONGEST)  # a document in a cell is more than the default 128 KiB
    file = io.TextIOWrapper(io.BufferedReader(source, 1 << 16), encoding="utf-8", newline="")
    return csv.reader(file, strict=True, delimiter="," if reader == "csv" else "\t")


class _Source(io.RawIOBase):
    """A Stream as a file, for the standard library."""

    def __init__(self, stream: Stream) -> None:
        self._stream = stream
        self.taken = 0

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: memoryview) -> int:  # type: ignore[override]
        data = self._stream.read(len(buffer))
        buffer[: len(data)] = data
        self.taken += len(data)
        return len(data)
