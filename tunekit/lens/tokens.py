"""What is in a dataset's tokens: rows by number, and how long and how trained rows are."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from tunekit.data.tokenset import TokenSet
from tunekit.lens.rows import Places
from tunekit.lens.spread import Spread

Flags = NDArray[np.bool_]
Stored = tuple[list[int], list[bool]]  # a row's input_ids and labelled


class Batch:
    """Some rows of a part: `numbers[i]` is the dataset's number of row `i`; they rise."""

    def __init__(self, batch: pa.RecordBatch, first_row: int) -> None:
        self.numbers = _numbers(batch.column("row"), "i8") + first_row
        ids, labels = batch.column("input_ids"), batch.column("labelled")
        self.offsets = _numbers(ids.offsets, "i4").astype(np.int64)  # into what flatten() gives, from its first on
        self.offsets -= self.offsets[0]
        self._ids = ids.flatten()
        self._labels = labels.flatten()

    def __len__(self) -> int:
        return len(self.numbers)

    @property
    def ids(self) -> NDArray[np.int32]:
        """Of all rows, one after the other."""
        return _numbers(self._ids, "i4")

    @property
    def labels(self) -> Flags:
        """Of all rows, one after the other."""
        count, start = len(self._labels), self._labels.offset
        bits = np.frombuffer(self._labels.buffers()[1], np.uint8) if count else np.zeros(0, np.uint8)
        bits = bits[start // 8 : (start + count + 7) // 8]
        return np.unpackbits(bits, count=start % 8 + count, bitorder="little")[start % 8 :].astype(bool)

    @property
    def lengths(self) -> Places:
        return np.diff(self.offsets)

    @property
    def trained(self) -> Places:
        """Tokens with a label, of each row."""
        before = np.concatenate([np.zeros(1, np.int64), np.cumsum(self.labels)])
        return before[self.offsets[1:]] - before[self.offsets[:-1]]

    def row(self, i: int) -> Stored:
        start, stop = int(self.offsets[i]), int(self.offsets[i + 1])
        return self.ids[start:stop].tolist(), self.labels[start:stop].tolist()


def batches(tokens: TokenSet, numbers: Places | None = None) -> Iterator[Batch]:
    """The rows in order; with `numbers` (rising) only the batches that have one of them."""
    for part, table in tokens.tables():
        for batch in table.to_batches():
            if not len(batch):
                continue
            made = Batch(batch, part.first_row)
            if numbers is None or _overlap(numbers, made.numbers):
                yield made
        if numbers is not None and (not len(numbers) or part.first_row > numbers[-1]):
            return


def _overlap(numbers: Places, rising: Places) -> bool:
    first, last = np.searchsorted(numbers, [rising[0], rising[-1] + 1])
    return bool(first < last)


def rows(tokens: TokenSet, numbers: Places) -> dict[int, Stored]:
    """Rows by number; those without a label are not there."""
    found: dict[int, Stored] = {}
    for batch in batches(tokens, numbers):
        for i in np.flatnonzero(np.isin(batch.numbers, numbers)).tolist():
            found[int(batch.numbers[i])] = batch.row(i)
    return found


def statistics(tokens: TokenSet, numbers: Places, longest: int) -> dict[str, Any]:
    """Lengths of all rows; of those of these numbers, trained tokens and the share of them. `over`: how many rows are
    longer than `longest`, `longest_row`: the number of the longest one, `looked`: rows behind the trained tokens."""
    length, trained, share = Spread(), Spread(), Spread()
    looked = over = 0
    longest_row, most = None, -1
    for batch in batches(tokens):
        lengths = batch.lengths
        length.add(lengths)
        over += int((lengths > longest).sum()) if longest else 0
        if lengths.max() > most:
            most, longest_row = int(lengths.max()), int(batch.numbers[lengths.argmax()])
        mine = np.isin(batch.numbers, numbers) if _overlap(numbers, batch.numbers) else np.zeros(len(batch), bool)
        if mine.any():
            counts = batch.trained[mine]
            trained.add(counts)
            share.add(counts / np.maximum(lengths[mine], 1))
            looked += len(counts)
    return {
        "looked": looked,
        "over": over,
        "longest_row": longest_row,
        "spreads": {"length": length.summary(), "trained": trained.summary(), "share": share.summary()},
    }


def _numbers(array: pa.Array, kind: str) -> NDArray[Any]:
    """An array of numbers without nulls, mapped; `Array.to_numpy` would import pandas."""
    if not len(array):
        return np.zeros(0, kind)
    width = np.dtype(kind).itemsize
    return np.frombuffer(array.buffers()[1], kind, len(array), array.offset * width)
