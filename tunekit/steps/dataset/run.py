"""Make a dataset: read → split → cut into chunks → map and format each chunk → shuffle → limit → write.

Each chunk of rows that was read is a part: made once, and found again wherever the same bytes come back. Rows keep the
number they were read with (from 0), so that errors and the ledger name a row of the source.
"""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from copy import deepcopy
from pathlib import Path

import msgspec
import numpy as np

from tunekit.data.chunk import Where, portion
from tunekit.data.formats.choose import Choice
from tunekit.data.partcache import PartCache
from tunekit.data.rowset import DatasetWriter, map_table
from tunekit.data.speed import Speed
from tunekit.hashing import PREFIX
from tunekit.parts import chunk_name
from tunekit.protocol import Events, Request
from tunekit.steps.dataset.mapping import Mapping
from tunekit.steps.dataset.origin import Origin
from tunekit.steps.dataset.origins import Origins
from tunekit.steps.dataset.part import NAMED_ROWS, Earlier, RowPart, load_part, make_part
from tunekit.steps.dataset.raw import Raw, TableChunk
from tunekit.steps.dataset.shuffle import Piece, shuffled
from tunekit.steps.dataset.spec import Dataset


class Ledger(msgspec.Struct):
    """What became of the rows. `read` = `outside_split` + what the map saw; `made` of `map` minus `dropped`. Behind a
    `limit` nothing is read; `over_limit` are rows that came with the last one kept, or all others of a shuffle."""

    read: int = 0
    outside_split: int = 0
    dropped: int = 0
    dropped_rows: list[int] = []
    made: int = 0
    over_limit: int = 0
    kept: int = 0


def run(request: Request, events: Events) -> dict[str, str]:
    """Write the dataset. Raises ActionError (`map-failed`, `map-result`, `wrong-shape`, `empty-dataset`, …)."""
    spec = msgspec.convert(request.spec, Dataset)
    origin = Origin(request, spec, events.warning)
    writer = DatasetWriter(Path(request.out) / "main")
    work = _Work(request, events, spec, origin, writer)
    origins = Origins(origin)  # of a shuffle they would be as long as the dataset
    if spec.shuffle:
        for table, where in shuffled(list(work.pieces(None)), spec.seed, spec.limit):
            work.ledger.kept += writer.add(table, where).rows
    else:
        for piece in work.pieces(spec.limit):
            work.ledger.kept += _place(writer, piece)
            origins.add(piece.numbers[piece.start : piece.stop])
    ledger = work.ledger
    ledger.outside_split = origin.outside
    ledger.read = origin.outside + work.seen
    ledger.over_limit = ledger.made - ledger.kept
    choice = work.mapping.choice or Choice("rows", {})
    events.effective(ledger=msgspec.to_builtins(ledger), format=choice.format, form=choice.form, fields=choice.fields)
    if origins.runs:
        events.effective(origins=origins.runs)
    writer.finish(choice.form)
    shutil.rmtree(Path(request.staging) / "parts", ignore_errors=True)
    events.progress(ledger.read, ledger.read, "row")
    return {"main": "main"}


def _place(writer: DatasetWriter, piece: Piece) -> int:
    """Put rows of a finished chunk into the dataset: the file itself if it is all of them."""
    table = map_table(piece.file)
    rows = piece.stop - piece.start
    if rows == len(table):
        writer.place(piece.file, table, piece.where)
        return rows

    def where(row: int) -> str:
        return piece.where(piece.start + row)

    writer.add(portion(table, piece.start, piece.stop, where), where)
    return rows


def _where(origin: Origin, first: int, part: RowPart | None = None) -> Where:
    """What errors call a row of a chunk whose first row was read as number `first`. It outlives the chunk's bytes."""
    return lambda row: origin.where(first + (part.read_as(row) if part else row))


class _Work:
    """One pass over the rows: what is found, what is made, and the ledger of it."""

    def __init__(self, request: Request, events: Events, spec: Dataset, origin: Origin, writer: DatasetWriter) -> None:
        self.ledger = Ledger()
        self.seen = 0  # rows inside the split that were read
        self._spec = spec
        self._origin = origin
        self._writer = writer  # has the chunks before, unless they are shuffled when all are made
        self._events = events
        self._cache = PartCache(request, events)
        self.mapping = Mapping(spec, request.code_root, origin.where)
        self._staging = Path(request.staging) / "parts"
        self._earlier: dict[str, Earlier] = {}
        self._made: dict[str, RowPart] = {}  # of this execution: bytes that come twice are parsed once
        self._directories = 0
        self._speed = Speed()

    def pieces(self, limit: int | None) -> Iterator[Piece]:
        """Chunks of the dataset in the order of reading, until `limit` rows are made."""
        left = limit
        for raw in self._origin.chunks():
            self._settle(raw)
            piece = self._piece(raw, left)
            speed = self._speed.of(rows=self.seen)
            self._events.progress(self.seen, self._origin.total, "row", **speed)
            if piece is None:
                continue
            if left is not None and piece.stop - piece.start >= left:
                yield piece._replace(stop=piece.start + left)
                return
            left = None if left is None else left - (piece.stop - piece.start)
            yield piece

    def _settle(self, raw: Raw) -> None:
        """See to it that the format is known before a row is made into it."""
        one_by_one = ((raw.first + n, row) for n in range(raw.count) for row in raw.rows(np.array([n])))
        found = self.mapping.settle(one_by_one)
        if found:
            self._events.warning("format-detected", found)

    def _piece(self, raw: Raw, most: int | None) -> Piece | None:
        if isinstance(raw, TableChunk) and self.mapping.keeps(raw.dataset.shape):
            self.seen += raw.count
            self.ledger.made += raw.count
            first = raw.first - raw.start
            return Piece(raw.file, raw.start, raw.stop, _where(self._origin, first), range(first, first + raw.stop))
        part = self._part(raw, most)
        told = part.until(most) if most is not None and most < raw.count else part
        self.seen += told.read
        self.ledger.made += told.rows
        self.ledger.dropped += told.dropped
        room = NAMED_ROWS - len(self.ledger.dropped_rows)
        self.ledger.dropped_rows += [raw.first + n for n in told.dropped_rows[:room]]
        if not part.rows:
            return None
        numbers = part.read_numbers()
        numbers = range(raw.first, raw.first + len(numbers)) if isinstance(numbers, range) else numbers + raw.first
        return Piece(part.file, 0, part.rows, _where(self._origin, raw.first, part), numbers)

    def _part(self, raw: Raw, most: int | None) -> RowPart:
        """The part of a chunk; of no more of its first rows than make `most`, if it was not made before."""
        part = self._found(raw)
        if part is None and most is not None and most < raw.count:
            raw = self._shortened(raw, most)
            part = self._found(raw)
        return part or self._make(raw)

    def _name(self, raw: Raw) -> str:
        """What the rows of a chunk are made from, beside the settings."""
        return chunk_name(raw.digest, self.mapping.manner)

    def _found(self, raw: Raw) -> RowPart | None:
        name = self._name(raw)
        known = self._made.get(name)
        if known is None and (part := self._cache.find(name)) is not None:
            known = self._made[name] = load_part(part.files)
            self._cache.use(name, part, known.rows)
        return known

    def _shortened(self, raw: Raw, most: int) -> Raw:
        if self.mapping.one_to_one:
            return raw.head(most)
        made = 0
        for number, row in enumerate(raw.rows()):
            again = deepcopy(row)  # it is mapped once more, and a map may change it
            made += len(self.mapping.of(again, raw.first + number))
            if made >= most:
                return raw.head(number + 1)
        return raw

    def _make(self, raw: Raw) -> RowPart:
        manner = f"{raw.manner} {self.mapping.manner}"
        if manner not in self._earlier:
            self._earlier[manner] = Earlier(self._cache.earlier(), manner)
        directory = self._staging / str(self._directories)
        self._directories += 1
        part, copied = make_part(directory, raw, self.mapping, self._earlier[manner], self._writer.kind)
        name = self._name(raw)
        hashed = (part.file, PREFIX + part.file.stem) if part.rows else None
        files = self._cache.keep(name, directory, part.rows, copied, hashed)
        part = self._made[name] = load_part(files)
        return part
