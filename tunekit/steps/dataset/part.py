"""A part of a dataset: what one chunk of rows as they were read becomes.

    part.json          {"format": 1, "manner", "read", "dropped", "dropped_rows",
                        "chunk": {digest, rows, bytes}, null if no row is left}
    <64 hex>.arrow     the chunk of the dataset, if any row is left
    lines.arrow        of every row that was read: columns digest binary(32), made int32, the number of rows made of it,
                       and group binary, at the last row of each group the digest of the group (raw.Groups), else empty

`lines.arrow` is what lets the next execution copy rows: a row of the same bytes is not parsed again, nor hashed by
itself if its whole group is there.
"""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path
from typing import NamedTuple

import numpy as np
import pyarrow as pa

from tunekit.data.arrays import Numbers, binaries, fixed, numpy_of
from tunekit.data.chunk import Chunk, Digests, Pick, compose, digests_of, fresh, write_chunk
from tunekit.data.columns import EMPTY, Kind
from tunekit.data.rowset import map_table, read_index, write_index
from tunekit.data.seen import Seen, spans
from tunekit.parts import Part
from tunekit.steps.dataset.mapping import Mapping
from tunekit.steps.dataset.raw import Groups, Raw

FORMAT = 2
NAMED_ROWS = 20  # row numbers that the ledger names
_LINES = pa.schema([("digest", pa.binary(32)), ("made", pa.int32()), ("group", pa.binary())])


class RowPart(NamedTuple):
    """A finished part: what its chunk has (`rows` 0: there is none), and of how many rows that were read. Row numbers
    count from the first of these."""

    read: int
    dropped: int
    dropped_rows: list[int]
    rows: int
    file: Path  # of the chunk
    lines: Path  # lines.arrow

    def read_numbers(self) -> range | Numbers:
        """The number that each row of the chunk was read with."""
        one_each = not self.dropped and self.rows == self.read
        return range(self.read) if one_each else np.repeat(np.arange(self.read), self._made())

    def read_as(self, row: int) -> int:
        """The number that row `row` of the chunk was read with."""
        return int(np.searchsorted(np.cumsum(self._made()), row, side="right"))

    def until(self, most: int) -> RowPart:
        """The counts there would be, had reading ended with the row that made the `most`-th one; the chunk as it is."""
        made = self._made()
        made = made[: int(np.searchsorted(np.cumsum(made), most)) + 1]
        dropped = [row for row in self.dropped_rows if row < len(made)]
        return self._replace(read=len(made), rows=int(made.sum()), dropped=int((made == 0).sum()), dropped_rows=dropped)

    def _made(self) -> Numbers:
        """How many rows were made of each that was read."""
        return numpy_of(map_table(self.lines).column("made")).astype(np.int64)


def load_part(files: dict[str, Path]) -> RowPart:
    """A part's files by name. Raises ActionError (`not-a-part`)."""
    body = read_index(files["part.json"], FORMAT, "part")
    chunk = Chunk(**body["chunk"]) if body["chunk"] else None
    file = files[f"{chunk.digest[7:]}.arrow"] if chunk else Path()
    rows = chunk.rows if chunk else 0
    return RowPart(body["read"], body["dropped"], body["dropped_rows"], rows, file, files["lines.arrow"])


class Earlier:
    """The rows of the last execution, by the bytes that they were read from."""

    def __init__(self, parts: Iterable[Part], manner: str) -> None:
        self._chunks: list[Path] = []
        self._starts: list[Numbers] = []  # [p][i]: the first row of chunk p that was made of its line i
        self._digests: list[Digests] = []
        self._group_ends: list[Numbers] = []
        groups: list[Digests] = []
        for part in parts:
            body = read_index(part.files["part.json"], FORMAT, "part")
            if body["manner"] != manner or not body["chunk"]:
                continue
            lines = map_table(part.files["lines.arrow"])
            self._digests.append(digests_of(lines.column("digest")))
            ends, found = _groups_in(lines.column("group"))
            self._group_ends.append(ends)
            groups.append(found)
            self._chunks.append(part.files[f"{body['chunk']['digest'][7:]}.arrow"])
            self._starts.append(np.concatenate([np.zeros(1, np.int64), np.cumsum(numpy_of(lines.column("made")))]))
        self._groups = Seen(groups)
        self._lines: Seen | None = None

    def find(self, raw: Raw) -> tuple[Digests, Numbers, Numbers]:
        """The digests of a chunk's lines; and of every line the part and the line there, part -1 where it was not
        seen. Whole groups first: of their lines, nothing is hashed."""
        digests = np.zeros((raw.count, 32), np.uint8)
        part, line = _nowhere(raw.count)
        ends = raw.groups.ends
        lengths = np.diff(ends, prepend=0)
        in_part, group = self._groups.find(raw.groups.digests)
        for p in np.unique(in_part[in_part >= 0]).tolist():
            mine = in_part == p
            there, here = self._group_ends[p][group[mine]] - lengths[mine], ends[mine] - lengths[mine]
            lines, rows = spans(there, lengths[mine]), spans(here, lengths[mine])
            digests[rows], part[rows], line[rows] = self._digests[p][lines], p, lines
        rest = np.flatnonzero(part < 0)
        if len(rest):
            self._lines = self._lines or Seen(self._digests)
            digests[rest] = raw.digests(rest)
            part[rest], line[rest] = self._lines.find(digests[rest])
        return digests, part, line

    def counts(self, part: Numbers, line: Numbers) -> Numbers:
        """How many rows were made of these lines."""
        out = np.zeros(len(part), np.int64)
        for p in np.unique(part).tolist():
            mine = part == p
            out[mine] = self._starts[p][line[mine] + 1] - self._starts[p][line[mine]]
        return out

    def picks(self, part: Numbers, line: Numbers, places: Numbers, counts: Numbers) -> list[Pick]:
        """The rows of these lines, where they were seen; `places`: where the first row of each line goes."""
        out = []
        for p in np.unique(part[part >= 0]).tolist():
            mine = part == p
            numbers = spans(self._starts[p][line[mine]], counts[mine])
            if len(numbers):
                out.append(Pick(map_table(self._chunks[p]), numbers, spans(places[mine], counts[mine])))
        return out


def make_part(
    directory: Path, raw: Raw, mapping: Mapping, earlier: Earlier | None, before: Kind = EMPTY
) -> tuple[RowPart, int]:
    """Make a part in `directory`; also how many rows were copied. What a killed attempt left there is overwritten.
    `before`: what the dataset's rows in front of it have; only errors ask for it.

    Raises ActionError of the readers, of Mapping, and `mixed-types`.
    """
    directory.mkdir(parents=True, exist_ok=True)
    for file in directory.iterdir():
        file.unlink()  # it may be a link into an artifact, which must not change
    digests, part, line = earlier.find(raw) if earlier else (raw.digests(), *_nowhere(raw.count))
    missed = np.flatnonzero(part < 0)
    rows = raw.rows(missed if len(missed) < raw.count else None)
    made = [mapping.of(row, raw.first + n) for n, row in zip(missed.tolist(), rows, strict=True)]
    counts = np.zeros(raw.count, np.int64)
    counts[missed] = [len(several) for several in made]
    if earlier:
        counts[part >= 0] = earlier.counts(part[part >= 0], line[part >= 0])
    ends = np.cumsum(counts)

    def where(row: int) -> str:
        return mapping.where(raw.first + int(np.searchsorted(ends, row, side="right")))

    places = spans((ends - counts)[missed], counts[missed])
    new = fresh([row for several in made for row in several], lambda n: where(int(places[n])))
    picks = earlier.picks(part, line, ends - counts, counts) if earlier else []
    chunk = write_chunk(directory, compose(new._replace(places=places), picks, where, before)) if ends[-1] else None
    _write(directory, f"{raw.manner} {mapping.manner}", digests, raw.groups, counts, chunk)
    files = {file.name: file for file in directory.iterdir()}
    return load_part(files), sum(len(pick.numbers) for pick in picks)


def _nowhere(count: int) -> tuple[Numbers, Numbers]:
    return np.full(count, -1, np.int64), np.zeros(count, np.int64)


def _groups_in(column: pa.ChunkedArray) -> tuple[Numbers, Digests]:
    """The ends of groups and their digests, as `_write` wrote them."""
    _, offsets, data = column.chunk(0).buffers()
    ends = np.flatnonzero(np.diff(np.frombuffer(offsets, np.int32, len(column) + 1))) + 1
    return ends, np.frombuffer(data or b"", np.uint8, len(ends) * 32).reshape(-1, 32)


def _write(
    directory: Path, manner: str, digests: Digests, groups: Groups, counts: Numbers, chunk: Chunk | None
) -> None:
    lengths = np.zeros(len(counts), np.int64)
    lengths[groups.ends - 1] = 32
    columns = [
        fixed(digests, _LINES.field(0).type),
        fixed(counts.astype(np.int32), pa.int32()),
        binaries(lengths, groups.digests),
    ]
    with pa.OSFile(str(directory / "lines.arrow"), "wb") as sink, pa.ipc.new_file(sink, _LINES) as writer:
        writer.write_batch(pa.record_batch(columns, schema=_LINES))
    dropped = np.flatnonzero(counts == 0)
    body = {
        "format": FORMAT,
        "manner": manner,
        "read": len(counts),
        "dropped": len(dropped),
        "dropped_rows": dropped[:NAMED_ROWS].tolist(),
        "chunk": chunk._asdict() if chunk else None,
    }
    write_index(directory / "part.json", body)
