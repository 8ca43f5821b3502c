"""Which row of which file each row of a dataset came from, in few words: it goes into the record, so that errors of
later steps can say it. No path enters an artifact or a key."""

from __future__ import annotations

import numpy as np

from tunekit.data.arrays import Numbers
from tunekit.steps.dataset.origin import Origin

MOST = 1000  # runs; a map that drops every other row would make one of every row


class Origins:
    """Fed with the rows of the dataset in their order, by the numbers that they were read with. `runs`: [row, name of
    the file (or dataset), its row] where rows that follow each other there begin. A last one without a name: from
    there on nobody knows."""

    def __init__(self, origin: Origin) -> None:
        self.runs: list[tuple[int, str, int]] = []
        self._origin = origin
        self._rows = 0
        self._next = -1  # the number that would go on with the run

    def add(self, numbers: range | Numbers) -> None:
        """More rows of the dataset; the numbers do not fall."""
        if len(numbers) and len(self.runs) <= MOST:
            begins = [] if numbers[0] == self._next else [0]
            if not isinstance(numbers, range):
                begins += (np.flatnonzero(np.diff(numbers) != 1) + 1).tolist()
            begins += [int(np.searchsorted(numbers, s)) for s in self._origin.starts if numbers[0] <= s <= numbers[-1]]
            for at in sorted(set(begins)):
                self.runs.append((self._rows + at, *self._origin.place(int(numbers[at]))))
            if len(self.runs) > MOST:
                self.runs[MOST:] = [(self.runs[MOST][0], "", 0)]
        self._rows += len(numbers)
        self._next = int(numbers[-1]) + 1 if len(numbers) else self._next
