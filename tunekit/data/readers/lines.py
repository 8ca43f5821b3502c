"""Text cut into rows without being parsed: a line a row, or a paragraph a row."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np

from tunekit.data.readers.blocks import BLOCK, LONGEST, STEP, Lines, Positions, too_long
from tunekit.data.readers.streams import Stream, Torn
from tunekit.errors import ActionError


def split_lines(name: str, stream: Stream, reader: str) -> Iterator[Lines]:
    """Blocks of rows. A line of white space is no row; paragraphs are what such lines part.

    Raises ActionError (`row-too-long`; `bad-line` for a line longer than a block that cannot be an object of JSON).
    """
    row, line = 0, 1
    for data, end in _whole_rows(name, stream, reader):
        starts, ends, newlines = _lines(data, end, reader == "paragraphs")
        if len(starts):
            yield Lines(name, row, data, starts, ends, reader, line)
        row += len(starts)
        line += newlines


def _whole_rows(name: str, stream: Stream, reader: str) -> Iterator[tuple[bytes, int]]:
    """`(data, end)`: whole rows lie before `end`. The last row of a file needs no line end.

    A block is what was read in one step, as a rule: what is done with its bytes next finds them in the cache.
    """
    pieces: list[bytes] = []
    held = 0
    while True:
        try:
            piece = stream.read(STEP)
        except Torn:
            yield b"".join(pieces), _last_end(b"".join(pieces), reader)
            raise
        if not piece:
            break
        pieces.append(piece)
        held += len(piece)
        if _last_end(b"".join((pieces[-2][-2:], piece)) if pieces[1:] else piece, reader):
            data = b"".join(pieces) if pieces[1:] else piece
            end = _last_end(data, reader)
            yield data, end
            pieces = [data[end:]] if end < len(data) else []
            held = len(data) - end
        elif held < BLOCK:
            continue
        elif reader == "jsonl" and pieces[0].lstrip()[:1] not in (b"{", b""):
            hint = 'a list of rows? then set reader = "json"' if pieces[0].lstrip()[:1] == b"[" else ""
            message = f"{name}: a line of more than {held >> 20} MiB that is no object: {pieces[0][:20]!r}…"
            raise ActionError(message, slug="bad-line", hint=hint)
        elif held > LONGEST:
            raise too_long(name)
    if held:
        yield b"".join(pieces), held


def _last_end(data: bytes, reader: str) -> int:
    """Behind the last line end, or the last empty line; what follows may go on in the next piece. 0: there is none."""
    marks = (b"\n\n", b"\n\r\n") if reader == "paragraphs" else (b"\n",)
    return max(at + len(mark) if (at := data.rfind(mark)) >= 0 else 0 for mark in marks)


def _lines(data: bytes, end: int, join: bool) -> tuple[Positions, Positions, int]:
    """Where rows start and end in `data[:end]`, and how many line ends there are. `join`: rows are paragraphs."""
    if not end:
        return np.empty(0, np.int64), np.empty(0, np.int64), 0
    text = np.frombuffer(data, np.uint8, end)
    newlines = np.flatnonzero(text == 10)
    ends = newlines if data[end - 1] == 10 else np.append(newlines, end)
    starts = np.append(0, ends[:-1] + 1)
    ends = ends - ((ends > starts) & (text[ends - 1] == 13))
    filled = ends > starts
    for i in np.flatnonzero(filled & (text[np.minimum(starts, end - 1)] <= 32)).tolist():
        filled[i] = not data[starts[i] : ends[i]].isspace()
    if not join and filled.all():
        return starts, ends, len(newlines)
    first, last = filled, filled
    if join:
        first = filled & ~np.append(False, filled[:-1])
        last = filled & ~np.append(filled[1:], False)
    return starts[first], ends[last], len(newlines)
