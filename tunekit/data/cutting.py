"""Where chunks end: by the content of rows, so that an edit changes the chunks around it and no other.

A row whose hash is small is a *mark*. A chunk ends behind a mark that has no other mark among the `QUIET` rows before
it. Whether a row ends a chunk is thus decided by that row and the `QUIET` ones before it, wherever they stand: between
two ends that an edit does not touch, nothing it does is seen. Where ends are far apart, a chunk is cut when it has
`MOST_ROWS` rows or `MOST_BYTES` bytes; those cuts count from the last end, so they move only between two ends.
"""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
from numpy.typing import NDArray

Hashes = NDArray[np.uint64]
Sizes = NDArray[np.int64]

QUIET = 512
MOST_ROWS = 8192
MOST_BYTES = 16 << 20
_MARK = np.uint64(2**64 // 1400)  # one row in 1,400 is a mark; with `QUIET`, chunks have 2,000 rows on average


class Cutter:
    """Fed with the hashes and sizes of rows, in order, in batches of any length."""

    def __init__(self) -> None:
        self.rows = 0  # of the chunk that is open
        self.bytes = 0
        self._since_mark = QUIET + 1  # rows from the last mark to the batch's first row

    def ends(self, hashes: Hashes, sizes: Sizes) -> Iterator[int]:
        """The positions in this batch in front of which a chunk ends, rising. Position 0: the batch begins a chunk."""
        marks = np.flatnonzero(hashes < _MARK)
        wanted = marks[np.diff(marks, prepend=-self._since_mark) > QUIET] + 1
        self._since_mark = len(hashes) - int(marks[-1]) if len(marks) else self._since_mark + len(hashes)
        total = np.concatenate([np.zeros(1, np.int64), np.cumsum(sizes, dtype=np.int64)])
        start = 0
        for stop in wanted.tolist():
            yield from self._large(total, start, stop)
            yield stop
            self.rows = self.bytes = 0
            start = stop
        yield from self._large(total, start, len(hashes))

    def _large(self, total: Sizes, start: int, stop: int) -> Iterator[int]:
        """Take in rows start:stop; the positions where the chunk would have become too large. `total[i]`: bytes of
        the batch's first i rows."""
        while True:
            full = int(total[start]) + MOST_BYTES - self.bytes
            fit = min(int(np.searchsorted(total, full, side="right")) - 1 - start, MOST_ROWS - self.rows)
            if fit >= stop - start:
                break
            if self.rows + max(fit, 0) == 0:  # one row is too large: it is a chunk of its own
                fit = 1
                if stop - start == 1:
                    break
            start += max(fit, 0)
            yield start
            self.rows = self.bytes = 0
        self.rows += stop - start
        self.bytes += int(total[stop] - total[start])
