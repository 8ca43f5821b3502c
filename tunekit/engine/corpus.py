"""A dataset without an end: its rows as tokens, from any place on, epoch after epoch.

What an epoch is made of are *shards*: files where they lie, or the chunks of a dataset. They come in an order that
seed and epoch decide, and each from its first row to its last. So a place is three numbers, and to go on from it no
row before has to be kept, tokenized, or (of text and chunks) parsed again.
"""

from __future__ import annotations

import os
from collections import deque
from collections.abc import Callable, Iterator
from itertools import chain
from pathlib import Path
from typing import Any, NamedTuple

from tunekit.data.columns import Row
from tunekit.data.encoder import Encoded, Encoder
from tunekit.data.formats.choose import Choice, Make, choose
from tunekit.data.formats.fault import Fault
from tunekit.data.readers import Warn, compare_columns, data_files, read_blocks, rows_of
from tunekit.data.rowset import Dataset, iter_table
from tunekit.engine.shuffle import permutation
from tunekit.errors import ActionError
from tunekit.protocol import Input


class Place(NamedTuple):
    """What is read next: row `row` of the shard that is `shard`th in the order of `epoch`."""

    epoch: int = 0
    shard: int = 0
    row: int = 0


class Shard(NamedTuple):
    """`rows(n)` gives the rows from number `n` on, each with its number."""

    name: str
    rows: Callable[[int], Iterator[tuple[int, Row]]]


class Corpus:
    """One dataset of a stream. `number`: its place among them, so that no two have the same order."""

    def __init__(self, name: str, shards: list[Shard], encoder: Encoder, seed: int, number: int = 0) -> None:
        self.name = name
        self.shards = shards
        self._encoder = encoder
        self._seed = seed
        self._purpose = f"stream/shards/{number}"

    def documents(self, place: Place) -> Iterator[tuple[Place, Encoded]]:
        """Every document from `place` on, with the place behind it. Endless.

        Raises ActionError: `no-rows`, and what readers, formats and the encoder raise, with file and row.
        """
        behind: deque[Place] = deque()
        names: deque[str] = deque()

        def rows() -> Iterator[Row]:
            for after, name, row in self._rows(place):
                behind.append(after)
                names.append(f"{after.row - 1} of {name}")
                yield row

        def numbers() -> Iterator[str]:
            while True:
                yield names.popleft()

        for document in self._encoder.encode(rows(), numbers()):
            yield behind.popleft(), document

    def _rows(self, place: Place) -> Iterator[tuple[Place, str, Row]]:
        while True:
            order = permutation(len(self.shards), self._seed, place.epoch, self._purpose).tolist()
            some = place != Place(place.epoch)
            for at in range(place.shard, len(order)):
                shard = self.shards[order[at]]
                for number, row in shard.rows(place.row if at == place.shard else 0):
                    some = True
                    yield Place(place.epoch, at, number + 1), shard.name, row
            if not some:
                raise ActionError(f"{self.name} has no rows", slug="no-rows", hint="look at `source` and `split`")
            place = Place(place.epoch + 1)


def chunk_shards(label: str, dataset: Dataset) -> list[Shard]:
    """The chunks of a dataset; one of them is mapped at a time."""

    def shard(number: int) -> Shard:
        only = dataset._replace(chunk_list=[dataset.chunk_list[number]])

        def rows(start: int) -> Iterator[tuple[int, Row]]:
            for _, table in only.chunks():
                yield from enumerate(iter_table(table.slice(start)), start)

        return Shard(f"{label}, chunk {number}", rows)

    return [shard(number) for number in range(len(dataset.chunk_list))]


def file_shards(source: Input, warn: Warn) -> tuple[list[Shard], str]:
    """The files of an input of kind `files`, and the form that their rows have.

    Raises ActionError of readers and formats (`no-data-files`, `wrong-shape`, …), and `no-rows`.
    """
    reading = source.reading
    encoding = reading["encoding"]
    files = data_files(Path(source.path), reading["reader"], reading["split"], warn, reading.get("files"))
    compare_columns(files, warn, encoding)
    choice = _choice(source, files, warn)
    make = choice.maker()

    def shard(name: str, path: Path, reader: str) -> Shard:
        def rows(start: int) -> Iterator[tuple[int, Row]]:
            _check_unchanged(source, name, path)
            for number, row in _rows_of_file(name, path, reader, encoding, start):
                yield number, _formed(make, row, choice.format, f"row {number} of {name}")
            _check_unchanged(source, name, path)

        return Shard(name, rows)

    return [shard(*file) for file in files], choice.form


def _rows_of_file(name: str, path: Path, reader: str, encoding: str, start: int) -> Iterator[tuple[int, Row]]:
    for block in read_blocks(name, path, reader, lambda slug, message: None, encoding, start):
        skip = max(0, start - block.first)
        if skip < block.n:  # else it is passed over; rows of text are then not parsed
            yield from enumerate(rows_of(block)[skip:], block.first + skip)


def _choice(source: Input, files: list[tuple[str, Path, str]], warn: Warn) -> Choice:
    reading = source.reading
    found = chain.from_iterable(_rows_of_file(*file, reading["encoding"], 0) for file in files)
    first = next((row for _, row in found), None)
    if first is None:
        raise ActionError(f"{source.label} has no rows", slug="no-rows", hint="look at `source` and `split`")
    try:
        choice = choose(reading["format"], reading["fields"], first)
    except Fault as fault:
        raise _wrong(fault, f"row 0 of {source.label}", reading["format"]) from None
    if choice.found:
        warn("format-detected", choice.found)
    return choice


def _formed(make: Make, row: Row, format: str, where: str) -> Row:
    try:
        (made,) = make(row)  # forms that have labels are one row of one row
    except Fault as fault:
        raise _wrong(fault, where, format) from None
    return made


def _wrong(fault: Fault, where: str, format: str) -> ActionError:
    what = f"{where} {fault.reason}" if format == "auto" else f"{where} is not a `{format}` row: {fault.reason}"
    return ActionError(what, slug=fault.slug, hint=fault.hint)


def _check_unchanged(source: Input, name: str, path: Path) -> None:
    """What is read must be what the key says. Raises ActionError (`source-changed`)."""
    try:
        s = os.stat(path)
        now = f"{s.st_ino}:{s.st_size}:{s.st_mtime_ns}:{s.st_ctime_ns}"
    except FileNotFoundError:
        now = ""
    known: dict[str, Any] = source.reading["signatures"]
    if known.get(name) != now:
        raise ActionError(
            f"{name} of {source.label} is not the file any more that this run began with",
            slug="source-changed",
            hint="build again: a changed corpus is another run; put the file back to continue this one",
        )
