"""How the rows of a step are dealt to several processes, so that they train what one process would.

accelerate's sampler repeats rows until every process has a full batch: the last step of an epoch would then learn
some of them twice. Here a process without a row gets a filler instead, which has no label and so adds nothing.
"""

from __future__ import annotations

from collections.abc import Iterator, Sized
from typing import Any, Protocol

import numpy as np
from torch.utils.data import Dataset, Sampler

FILLER = -1


class Rows(Sized, Protocol):
    """An order: numbers of rows, or of rows that share a sequence."""

    def __iter__(self) -> Iterator[Any]: ...


class Shares(Sampler[list[Any]]):
    """The forward passes of process `rank` of `world`: of every step's `batch` rows at most `micro` at once. All
    processes have the same number of them."""

    def __init__(self, order: Rows, batch: int, micro: int, rank: int, world: int) -> None:
        self._order, self._batch, self._micro, self._rank, self._world = order, batch, micro, rank, world

    def __len__(self) -> int:
        steps, rest = divmod(len(self._order), self._batch)
        return steps * self._passes(self._batch) + self._passes(rest)

    def __iter__(self) -> Iterator[list[Any]]:
        step: list[Any] = []
        for row in self._order:
            step.append(row)
            if len(step) == self._batch:
                yield from self._dealt(step)
                step = []
        yield from self._dealt(step)

    def _passes(self, rows: int) -> int:
        return -(-rows // (self._micro * self._world))

    def _dealt(self, rows: list[Any]) -> Iterator[list[Any]]:
        for n in range(self._passes(len(rows))):
            start = (n * self._world + self._rank) * self._micro
            yield rows[start : start + self._micro] or [FILLER]


class WithFiller(Dataset[dict[str, Any]]):
    """Documents, and two tokens without a label as number `FILLER`."""

    def __init__(self, documents: Any) -> None:
        self._documents = documents

    def __len__(self) -> int:
        return len(self._documents)

    def __getitem__(self, index: Any) -> dict[str, Any]:
        if np.ndim(index) == 0 and index == FILLER:
            ids = self._documents[0]["input_ids"][:2]
            return {"input_ids": ids, "labels": np.full_like(ids, -100), "seq_lengths": [len(ids)], "filler": True}
        found: dict[str, Any] = self._documents[index]
        return found
