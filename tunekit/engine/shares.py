"""The order of rows, and how those of a step are dealt to several processes, so that they train what one would.

accelerate's sampler repeats rows until every process has a full batch: the last step of an epoch would then learn
some of them twice. Here a process without a row gets a filler instead, which has no label and so adds nothing.
"""

from __future__ import annotations

from collections.abc import Iterator, Sized
from typing import Any, NamedTuple, Protocol

import numpy as np
import torch
from torch.utils.data import Dataset, Sampler
from transformers import TrainerCallback, TrainerControl, TrainerState, TrainingArguments

FILLER = -1


class Rows(Sized, Protocol):
    """An order: numbers of rows, or of rows that share a sequence."""

    def __iter__(self) -> Iterator[Any]: ...


class Shuffled(Sampler[Any]):
    """Numbers of rows in the order of an epoch, as accelerate's `SeedableRandomSampler` has them in one process."""

    name = "shuffled"

    def __init__(self, rows: int, seed: int) -> None:
        self._rows = rows
        self._seed = seed
        self.epoch = 0

    def __len__(self) -> int:
        return self._rows

    def __iter__(self) -> Iterator[Any]:
        generator = torch.Generator().manual_seed(self._seed + self.epoch)
        yield from torch.randperm(self._rows, generator=generator).tolist()

    def figures(self) -> dict[str, float]:
        """Of the whole order, for the record."""
        return {}


class EpochTeller(TrainerCallback):
    """Accelerate tells a sampler its epoch only under some of its own wrappers; this does always."""

    def __init__(self, order: Shuffled) -> None:
        self._order = order

    def on_epoch_begin(
        self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **kwargs: Any
    ) -> None:
        self._order.epoch = int(state.epoch or 0)


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
        mine = rows[self._rank :: self._world]
        for n in range(self._passes(len(rows))):
            yield mine[n * self._micro : (n + 1) * self._micro] or [FILLER]


class Filler(NamedTuple):
    """The mark of a row that nothing is to be learnt of. A row itself may be of any type."""

    row: Any


class WithFiller(Dataset[Any]):
    """Rows, and a copy of the first one as number `FILLER`, marked: a collator takes what it learns away."""

    def __init__(self, rows: Any) -> None:
        self._rows = rows

    def __len__(self) -> int:
        return len(self._rows)

    def __getitem__(self, index: Any) -> Any:
        return Filler(self._rows[0]) if np.ndim(index) == 0 and index == FILLER else self._rows[index]


def without_mark(rows: list[Any]) -> tuple[list[Any], bool]:
    """The rows of a batch as they are, and whether it is a filler."""
    filler = isinstance(rows[0], Filler)
    return [row.row for row in rows] if filler else rows, filler
