"""Text cut into rows without being parsed: a line a row, or a paragraph a row."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np

from tunekit.data.readers.blocks import BLOCK, Lines, Positions
from tunekit.data.readers.streams import Stream
from tunekit.errors import ActionError

_STEP = 1 << 20  # bytes read at a time: what a torn stream takes with it
_LONGEST = 2**31 - 1  # bytes of a row: what a string of Arrow holds


def split_lines(name: str, stream: Stream, reader: str) -> Iterator[Lines]:
    """Blocks of whole lines; a line of white space is no row. Raises ActionError (`row-too-long`)."""
    row, line = 0, 1
    for data, end in _whole_lines(name, stream):
        starts, ends, newlines = _rows(data, end)
        if len(starts):
            yield Lines(name, row, data, starts, ends, reader, line)
        row += len(starts)
        line += newlines


def _whole_lines(name: str, stream: Stream) -> Iterator[tuple[bytes, int]]:
    """`(data, end)`: whole lines lie before `end`; the last line may have no line end."""
    pieces: list[bytes] = []
    held = 0
    while piece := stream.read(_STEP):
        pieces.append(piece)
        held += len(piece)
        if held >= BLOCK and b"\n" in piece:
            data = b"".join(pieces)
            end = data.rfind(b"\n") + 1
            yield data, end
            pieces = [data[end:]]
            held = len(pieces[0])
        elif held > _LONGEST:
            raise ActionError(f"{name} has a row of more than 2 GiB", slug="row-too-long")
    data = b"".join(pieces)
    if data:
        yield data, len(data)


def _rows(data: bytes, end: int) -> tuple[Positions, Positions, int]:
    """Where rows start and end in `data[:end]`, and how many line ends there are."""
    text = np.frombuffer(data, np.uint8, end)
    newlines = np.flatnonzero(text == 10)
    ends = newlines if data[end - 1] == 10 else np.append(newlines, end)
    starts = np.zeros_like(ends)
    starts[1:] = ends[:-1] + 1
    ends = ends - ((ends > starts) & (text[ends - 1] == 13))
    kept = ends > starts
    for i in np.flatnonzero(kept & (text[np.minimum(starts, end - 1)] <= 32)).tolist():
        kept[i] = not data[starts[i] : ends[i]].isspace()
    if not kept.all():
        starts, ends = starts[kept], ends[kept]
    return starts, ends, len(newlines)
