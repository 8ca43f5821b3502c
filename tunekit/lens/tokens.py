"""What is in a dataset's tokens: rows by number, and how long and how trained rows are."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray

from tunekit.data.tokenset import TokenSet
from tunekit.lens.rows import Places
from tunekit.lens.spread import Spread

Flags = NDArray[np.bool_]
Stored = tuple[list[int], list[bool]]  # a row's input_ids and labelled


class Batch:
    """Some rows of a part: `numbers[i]` is the dataset's number of row `i`; they rise. Row i has the tokens from
    `offsets[i]` to `offsets[i + 1]` of `ids` and `labels`."""

    def __init__(self, batch: pa.RecordBatch, first_row: int) -> None:
        self._ids, self._labels = batch.column("input_ids"), batch.column("labelled")
        # DLPack maps a buffer; `Array.to_numpy` would import pandas
        self.numbers: Places = np.from_dlpack(batch.column("row")).astype(np.int64) + first_row
        offsets = np.from_dlpack(self._ids.offsets).astype(np.int64)
        self.offsets = offsets - offsets[0]

    @property
    def ids(self) -> NDArray[np.int32]:
        return np.from_dlpack(self._ids.flatten()).astype(np.int32, copy=False)

    @property
    def labels(self) -> Flags:
        return np.from_dlpack(pc.cast(self._labels.flatten(), pa.uint8())).astype(bool)

    @property
    def lengths(self) -> Places:
        return np.diff(self.offsets)

    @property
    def trained(self) -> Places:
        """Tokens with a label, of each row."""
        return np.diff(np.concatenate([[0], np.cumsum(self.labels)])[self.offsets])

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
        mine = (
            np.isin(batch.numbers, numbers) if _overlap(numbers, batch.numbers) else np.zeros(len(batch.numbers), bool)
        )
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
