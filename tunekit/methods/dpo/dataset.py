"""Pairs with what the reference says of them, as padded batches.

Letters: B pairs, T tokens; a batch has the B chosen answers first, then the B rejected ones.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import torch
from torch.utils.data import Dataset

from tunekit.engine.weighing import COUNTS
from tunekit.methods.pairwise.dataset import Pair, Pairs, padded

Row = tuple[Pair, np.ndarray]


class ReferencedPairs(Dataset[Row]):
    """`logps`: [n, 2], of the chosen and of the rejected answer."""

    def __init__(self, pairs: Pairs, logps: np.ndarray) -> None:
        self.pairs = pairs
        self.logps = logps

    def __len__(self) -> int:
        return len(self.pairs)

    def __getitem__(self, index: int) -> Row:
        return self.pairs[index], self.logps[index]


class DpoCollator:
    """What TRL's collator makes, of token views: `input_ids`, `attention_mask` and `completion_mask`, [2B, T], and
    `ref_chosen_logps` and `ref_rejected_logps`, [B]; with the counts of the batch."""

    def __init__(self, pad_token_id: int) -> None:
        self._pad_token_id = pad_token_id

    def __call__(self, rows: list[Row]) -> dict[str, Any]:
        both = [pair.chosen for pair, _ in rows] + [pair.rejected for pair, _ in rows]
        columns = padded(both, self._pad_token_id)
        mask = (columns.pop("labels") != -100).long()
        mask[:, 0] = 0  # nothing is before it: it is never predicted
        logps = torch.from_numpy(np.stack([found for _, found in rows]))
        return {
            **columns,
            "completion_mask": mask,
            "ref_chosen_logps": logps[:, 0],
            "ref_rejected_logps": logps[:, 1],
            COUNTS: {"pairs": len(rows), "tokens": int(columns["attention_mask"].sum())},
        }
