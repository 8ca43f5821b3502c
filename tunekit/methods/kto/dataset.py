"""Answers with verdicts, each with the answer to another prompt that the KL term is estimated by.

Letters: B rows, T tokens.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from torch.utils.data import Dataset

from tunekit.engine.pairs import Answers
from tunekit.engine.rows import Tokens
from tunekit.engine.shuffle import permutation

Sequence_ = tuple[np.ndarray, np.ndarray]  # input_ids and labels, int64


class Verdict(NamedTuple):
    """`mismatched`: the row's prompt with another row's answer."""

    answer: Sequence_
    mismatched: Sequence_
    wanted: bool


class Judged(Dataset[Verdict]):
    """Rows in one order, that of `seed`, in every epoch: what is paired with what is then known ahead, and so is what
    the reference says of it. Within each block of `block` rows (an optimizer step) an answer goes to the prompt of the
    row behind it, and the last one to the first; so the answers of a step estimate its KL term, as TRL and the paper
    (arXiv:2402.01306) have it. A row alone in the last block takes the answer of the block before."""

    def __init__(self, tokens: Tokens, found: list[Answers], seed: int, block: int, sequence_len: int) -> None:
        self.tokens = tokens
        spans, rows = np.concatenate([v.spans[0] for v in found]), np.concatenate([v.rows for v in found])
        order = permutation(len(spans), seed, 0, "kto/rows")
        self._spans, self.rows = spans[order], rows[order]
        self._block = block
        self._sequence_len = sequence_len

    def __len__(self) -> int:
        return len(self._spans)

    @property
    def wanted(self) -> int:
        """How many answers are."""
        return sum(self.tokens.verdicts(chunk, start)[0] for chunk, start, _ in self._spans.tolist())

    def partner(self, index: int) -> int:
        """The row whose answer goes to the prompt of row `index`."""
        first = index - index % self._block
        last = min(first + self._block, len(self)) - 1
        if index > first or first == last:
            return max(index - 1, 0)
        return last

    def sequences(self, index: int) -> list[Sequence_]:
        ids, labels = self._read(index)
        other, other_labels = self._read(self.partner(index))
        mine, its = _answer(labels), _answer(other_labels)
        joined = np.concatenate([ids[:mine], other[its:]]), np.concatenate([labels[:mine], other_labels[its:]])
        keep = slice(-self._sequence_len, None)
        return [(ids, labels), (joined[0][keep], joined[1][keep])]

    def __getitem__(self, index: int) -> Verdict:
        if not 0 <= index < len(self):
            raise IndexError(index)
        chunk, start, _ = self._spans[index].tolist()
        answer, mismatched = self.sequences(index)
        return Verdict(answer, mismatched, self.tokens.verdicts(chunk, start)[0])

    def _read(self, index: int) -> Sequence_:
        return self.tokens.sequence(*self._spans[index].tolist())


def _answer(labels: np.ndarray) -> int:
    """Where the answer begins."""
    return int(np.argmax(labels != -100))
