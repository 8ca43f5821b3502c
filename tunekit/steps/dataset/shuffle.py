"""Rows in an order of chance that goes by their content: an edited row moves, and no other.

A row's place is decided by a hash of the seed, its digest, and which of its equals it is. In memory are 24 bytes a row;
rows are read from the chunks in which they lie, some tens of megabytes at a time.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterator
from itertools import pairwise
from pathlib import Path
from typing import NamedTuple

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from tunekit.data.arrays import Numbers, sizes
from tunekit.data.chunk import DIGEST, NOTHING, Pick, Where, begins_of, compose, digests_of, portion, visible
from tunekit.data.cutting import MOST_BYTES, Cutter
from tunekit.data.rowset import map_table

_ROUND = 4 * MOST_BYTES  # gathered at a time


class Piece(NamedTuple):
    """Rows start:stop of a chunk file. `where`: what errors call a row of the file; `numbers`: those that its rows were
    read with."""

    file: Path
    start: int
    stop: int
    where: Where
    numbers: range | Numbers


def shuffled(pieces: list[Piece], seed: int, limit: int | None) -> Iterator[tuple[pa.Table, Where]]:
    """New chunks of the first `limit` rows in the order of chance. Raises ActionError (`mixed-types`)."""
    begins, lengths = _rows_of(pieces)
    order = _order(begins, seed)[:limit]
    starts = np.cumsum([0, *(p.stop - p.start for p in pieces)])
    ends = [*Cutter().ends(begins[order], lengths[order]), len(order)]
    bounds = [0, *sorted(set(ends) - {0})]
    total = np.concatenate([np.zeros(1, np.int64), np.cumsum(lengths[order])])
    first = 0
    while first + 1 < len(bounds):
        last = first + 1
        while last + 1 < len(bounds) and total[bounds[last + 1]] - total[bounds[first]] <= _ROUND:
            last += 1
        yield from _gathered(pieces, starts, order, bounds[first : last + 1])
        first = last


def _rows_of(pieces: list[Piece]) -> tuple[NDArray[np.uint64], Numbers]:
    """The begin of every row's digest, and the bytes of text in it."""
    begins, lengths = [np.zeros(0, np.uint64)], [np.zeros(0, np.int64)]
    for piece in pieces:
        table = map_table(piece.file).slice(piece.start, piece.stop - piece.start)
        begins.append(begins_of(digests_of(table.column(DIGEST))))
        columns = (c.combine_chunks() for c in visible(table).columns)
        lengths.append(sum((sizes(column) for column in columns), np.zeros(len(table), np.int64)))
    return np.concatenate(begins), np.concatenate(lengths)


def _order(begins: NDArray[np.uint64], seed: int) -> Numbers:
    salt = np.uint64(int.from_bytes(hashlib.sha256(f"tunekit/shuffle/{seed}".encode()).digest()[:8], "little"))
    with np.errstate(over="ignore"):
        keys = _mixed(begins ^ salt) + _mixed(_nth_of_equals(begins))
        return np.argsort(_mixed(keys), kind="stable")


def _nth_of_equals(values: NDArray[np.uint64]) -> NDArray[np.uint64]:
    order = np.argsort(values, kind="stable")
    ranked = values[order]
    begins = np.flatnonzero(np.concatenate([[True], ranked[1:] != ranked[:-1]])) if len(values) else np.zeros(0, int)
    lengths = np.diff(np.append(begins, len(values)))
    out = np.zeros(len(values), np.uint64)
    out[order] = np.arange(len(values)) - np.repeat(begins, lengths)
    return out


def _mixed(x: NDArray[np.uint64]) -> NDArray[np.uint64]:
    """The finalizer of splitmix64 (Steele et al. 2014, https://doi.org/10.1145/2660193.2660195)."""
    x = (x ^ (x >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
    x = (x ^ (x >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
    return x ^ (x >> np.uint64(31))


def _gathered(
    pieces: list[Piece], starts: Numbers, order: Numbers, bounds: list[int]
) -> Iterator[tuple[pa.Table, Where]]:
    """The chunks between these bounds: gathered all at once, so that a chunk is opened once, then taken apart."""
    base = bounds[0]
    wanted = order[base : bounds[-1]]
    piece = np.searchsorted(starts, wanted, side="right") - 1
    picks = []
    for p in np.unique(piece).tolist():
        places = np.flatnonzero(piece == p)
        picks.append(Pick(map_table(pieces[p].file), wanted[places] - starts[p] + pieces[p].start, places))

    def where(place: int) -> str:
        p = int(piece[place])
        return pieces[p].where(int(wanted[place] - starts[p]) + pieces[p].start)

    table = compose(NOTHING, picks, where)
    for start, stop in pairwise(bounds):

        def of_row(row: int, start: int = start) -> str:
            return where(start - base + row)

        yield portion(table, start - base, stop - base, of_row), of_row
