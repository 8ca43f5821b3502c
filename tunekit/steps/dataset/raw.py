"""Rows as they are read, cut into chunks by their content. A chunk is named by its bytes: what becomes of it under the
same settings is known without parsing a row."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from typing import Any, NamedTuple, Protocol

import numpy as np
import pyarrow as pa
import xxhash

from tunekit.data.arrays import Numbers, indices
from tunekit.data.chunk import DIGEST, Chunk, Digests, Where, digests_of, mixed_types
from tunekit.data.columns import Mismatch, Row, clash_within, kind_of
from tunekit.data.content import raw_content_of
from tunekit.data.cutting import Cutter, Hashes, Sizes
from tunekit.data.readers import Block, Lines, Rows, parse, parse_all
from tunekit.data.rowset import Dataset, as_schema, chunk_file, iter_table, map_table
from tunekit.hashing import PREFIX


class Groups(NamedTuple):
    """A chunk's rows some 16 at a time, by their content: rows that did not change are known by one hash a group.
    None of them where the hashes of rows are there anyway."""

    ends: Numbers  # the row behind each group
    digests: Digests


NO_GROUPS = Groups(np.zeros(0, np.int64), np.zeros((0, 32), np.uint8))


class Raw(Protocol):
    """Consecutive rows. `first`: the number of its first row among all that are read. `manner`: how rows are parsed;
    `digest` names that and the rows' bytes."""

    first: int
    count: int
    manner: str
    groups: Groups

    @property
    def digest(self) -> str: ...

    def digests(self, wanted: Numbers | None = None) -> Digests:
        """sha256 of every row, or of those with these numbers, [n, 32]."""
        ...

    def rows(self, wanted: Numbers | None = None) -> Iterable[Row]:
        """All rows, or those with these numbers in the chunk, parsed. Raises ActionError of the readers."""
        ...

    def head(self, count: int) -> Raw:
        """Its first rows."""
        ...


class LineChunk:
    """Rows of JSON lines or text: hashed as they are, parsed only where they are asked for. `hashes`: those that they
    were cut by; they say where groups end."""

    def __init__(self, first: int, pieces: list[Lines], hashes: Hashes) -> None:
        self.first = first
        self.pieces = pieces
        self.count = len(hashes)
        self.manner = pieces[0].reader
        self.groups = _groups(pieces, hashes)
        self._hashes = hashes
        head = f"{self.manner}\0{self.count}\0".encode()
        self.digest = PREFIX + hashlib.sha256(head + self.groups.digests.tobytes()).hexdigest()

    def digests(self, wanted: Numbers | None = None) -> Digests:
        out, sha256 = bytearray(), hashlib.sha256
        for piece, numbers in self._among(wanted):
            data = memoryview(piece.data)
            for start, end in zip(piece.starts[numbers].tolist(), piece.ends[numbers].tolist(), strict=True):
                out += sha256(data[start:end]).digest()
        return np.frombuffer(bytes(out), np.uint8).reshape(-1, 32)

    def rows(self, wanted: Numbers | None = None) -> Iterator[Row]:
        for piece, numbers in self._among(wanted):
            if wanted is None:
                yield from parse_all(_alone(piece))
            else:
                yield from (parse(piece, number) for number in numbers.tolist())

    def _among(self, wanted: Numbers | None) -> Iterator[tuple[Lines, Any]]:
        """The pieces, and which of the wanted rows (rising) are in each, by its own numbers."""
        first = 0
        for piece in self.pieces:
            if wanted is None:
                yield piece, slice(None)
            else:
                begin, end = np.searchsorted(wanted, [first, first + piece.n])
                yield piece, wanted[begin:end] - first
            first += piece.n

    def head(self, count: int) -> LineChunk:
        pieces = []
        for piece in self.pieces:
            kept = max(0, min(piece.n, count))
            pieces += [piece.part(0, kept)] if kept else []
            count -= kept
        return LineChunk(self.first, pieces, self._hashes[: sum(p.n for p in pieces)])


def _groups(pieces: list[Lines], hashes: Hashes) -> Groups:
    """A row whose hash ends in four zeros ends a group. A group's digest is that of its rows' lengths and bytes."""
    ends = np.unique(np.append(np.flatnonzero(hashes & np.uint64(15) == 0) + 1, len(hashes)))
    lengths = np.concatenate([p.ends - p.starts for p in pieces])
    stops = np.cumsum(lengths + 1)[ends - 1]
    text = _Joined(pieces)
    out = bytearray()
    first = start = 0
    for end, stop in zip(ends.tolist(), stops.tolist(), strict=True):
        h = hashlib.sha256(b"%d\0" % (end - first) + lengths[first:end].tobytes())  # lengths are not taken for text
        text.feed(h.update, start, stop)
        out += h.digest()
        first, start = end, stop
    return Groups(ends, np.frombuffer(bytes(out), np.uint8).reshape(-1, 32))


class _Joined:
    """The bytes of several pieces (`_joined`) in a row, without a copy of them."""

    def __init__(self, pieces: list[Lines]) -> None:
        self._left = [_joined(piece) for piece in pieces]
        self._begin = 0  # of the first that is left

    def feed(self, take: Callable[[Any], None], start: int, stop: int) -> None:
        """Hand over bytes start:stop; starts rise."""
        while stop - self._begin > len(self._left[0]):
            piece = self._left.pop(0)
            take(piece[start - self._begin :])
            self._begin = start = self._begin + len(piece)
        take(self._left[0][start - self._begin : stop - self._begin])


def _joined(lines: Lines) -> memoryview:
    """The rows' bytes with one line end behind each; as they are where that is how they lie in the file."""
    starts, ends = lines.starts, lines.ends
    if lines.reader == "jsonl" and bool((starts[1:] - ends[:-1] == 1).all()):
        stop = int(ends[-1])
        if lines.data[stop : stop + 1] == b"\n":
            return memoryview(lines.data)[int(starts[0]) : stop + 1]
    data = memoryview(lines.data)
    return memoryview(b"\n".join([data[s:e] for s, e in zip(starts.tolist(), ends.tolist(), strict=True)]) + b"\n")


def _alone(lines: Lines) -> Lines:
    """The rows without the rest of their block."""
    start, stop = int(lines.starts[0]), int(lines.ends[-1])
    if (start, stop) == (0, len(lines.data)):
        return lines
    line = lines.line + lines.data.count(b"\n", 0, start)
    data = lines.data[start:stop]
    return lines._replace(data=data, starts=lines.starts - start, ends=lines.ends - start, line=line)


class RowChunk:
    """Rows that came parsed (CSV, Parquet, `make:`)."""

    def __init__(self, first: int, rows: list[Row], digests: list[bytes]) -> None:
        self.first = first
        self.count = len(rows)
        self._rows = rows
        self._digests = digests
        self.groups = NO_GROUPS
        self.manner = "rows"
        self.digest = PREFIX + hashlib.sha256(b"rows\0" + b"".join(digests)).hexdigest()

    def digests(self, wanted: Numbers | None = None) -> Digests:
        found = np.frombuffer(b"".join(self._digests), np.uint8).reshape(-1, 32)
        return found if wanted is None else found[wanted]

    def rows(self, wanted: Numbers | None = None) -> Iterator[Row]:
        return iter(self._rows if wanted is None else [self._rows[i] for i in wanted.tolist()])

    def head(self, count: int) -> RowChunk:
        return RowChunk(self.first, self._rows[:count], self._digests[:count])


class TableChunk:
    """Rows start:stop of a chunk of another dataset, with that dataset's types."""

    def __init__(self, first: int, dataset: Dataset, chunk: Chunk, start: int, stop: int) -> None:
        self.first = first
        self.count = stop - start
        self.groups = NO_GROUPS
        self.dataset = dataset
        self.chunk = chunk
        self.start, self.stop = start, stop
        # a column that only other chunks have is None in these rows, so all columns say how they are read
        self.manner = "table " + hashlib.sha256(dataset.schema.serialize()).hexdigest()

    @property
    def digest(self) -> str:
        return PREFIX + hashlib.sha256(self.manner.encode() + b"\0" + self.digests().tobytes()).hexdigest()

    @property
    def file(self) -> Path:
        return chunk_file(self.dataset.path, self.chunk.digest)

    def digests(self, wanted: Numbers | None = None) -> Digests:
        found = digests_of(self._table().column(DIGEST))
        return found if wanted is None else found[wanted]

    def rows(self, wanted: Numbers | None = None) -> Iterator[Row]:
        table = self._table() if wanted is None else self._table().take(indices(wanted))
        return iter_table(as_schema(table, self.dataset.schema))

    def head(self, count: int) -> TableChunk:
        return TableChunk(self.first, self.dataset, self.chunk, self.start, min(self.stop, self.start + count))

    def _table(self) -> pa.Table:
        return map_table(self.file).slice(self.start, self.count)


def cut(blocks: Iterable[Block], first: int, where: Where) -> Iterator[Raw]:
    """Chunks of the rows of blocks. `first`: the number of the first row; `where`: what errors call a row's number."""
    cutter = Cutter()
    held: list[_Measured] = []
    for block in blocks:
        if held and held[0].manner != _manner(block):
            raw = _chunk(first, held)
            yield raw
            first, held, cutter = first + raw.count, [], Cutter()
        found = _measured(block, first + sum(m.block.n for m in held), where)
        start = 0
        for end in cutter.ends(found.hashes, found.sizes):
            held += [found.part(start, end)] if end > start else []
            if held:
                raw = _chunk(first, held)
                yield raw
                first += raw.count
            held, start = [], end
        held += [found.part(start, block.n)] if block.n > start else []
    if held:
        yield _chunk(first, held)


class _Measured(NamedTuple):
    """A block, or a part of one, with what the cutter needs. `digests`: of parsed rows only."""

    block: Block
    hashes: Hashes
    sizes: Sizes
    digests: list[bytes]

    @property
    def manner(self) -> str:
        return _manner(self.block)

    def part(self, start: int, stop: int) -> _Measured:
        return _Measured(
            self.block.part(start, stop), self.hashes[start:stop], self.sizes[start:stop], self.digests[start:stop]
        )


def _manner(block: Block) -> str:
    return block.reader if isinstance(block, Lines) else "rows"


def _measured(block: Block, first: int, where: Where) -> _Measured:
    if isinstance(block, Lines):
        data, xxh = memoryview(block.data), xxhash.xxh3_64_intdigest
        pairs = zip(block.starts.tolist(), block.ends.tolist(), strict=True)
        return _Measured(block, np.array([xxh(data[s:e]) for s, e in pairs], np.uint64), block.ends - block.starts, [])
    digests, sizes = [], []
    for number, row in enumerate(block.rows):
        try:
            content = raw_content_of(row, kind_of(row))
        except Mismatch:
            raise mixed_types(*clash_within(row), where(first + number)) from None
        digests.append(hashlib.sha256(content).digest())
        sizes.append(len(content))
    hashes = np.frombuffer(b"".join(digests), np.uint64)[::4]
    return _Measured(block, hashes, np.array(sizes, np.int64), digests)


def _chunk(first: int, held: list[_Measured]) -> Raw:
    if held[0].manner != "rows":
        hashes = np.concatenate([m.hashes for m in held])
        return LineChunk(first, [m.block for m in held if isinstance(m.block, Lines)], hashes)
    rows = [row for m in held if isinstance(m.block, Rows) for row in m.block.rows]
    return RowChunk(first, rows, [d for m in held for d in m.digests])
