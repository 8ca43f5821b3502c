"""The one definition of an evaluation loss: total negative log-likelihood over labelled tokens.

A mean of batch means would depend on the batch size; this depends on the data alone.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator
from typing import Any, NamedTuple

import numpy as np
import torch
from torch.nn.functional import cross_entropy

from tunekit.engine.rows import Held


class TokenLoss(NamedTuple):
    """Sum of -ln p (natural logarithm) and how many tokens it is over."""

    nll: float
    tokens: int

    @property
    def mean(self) -> float:
        return self.nll / max(self.tokens, 1)


def batches(tokens: Held, spans: np.ndarray, size: int, device: Any) -> Iterator[dict[str, torch.Tensor]]:
    """Right-padded batches of `size` sequences in order: input_ids, attention_mask, labels, each [B, T]."""
    for i in range(0, len(spans), size):
        rows = [tokens.sequence(*(int(x) for x in span)) for span in spans[i : i + size]]
        width = max(len(ids) for ids, _ in rows)
        ids_BT = torch.full((len(rows), width), tokens.pad_token_id)
        labels_BT, mask_BT = torch.full_like(ids_BT, -100), torch.zeros_like(ids_BT)
        for r, (ids, labels) in enumerate(rows):
            ids_BT[r, : len(ids)] = torch.tensor(ids)
            labels_BT[r, : len(ids)] = torch.tensor(labels)
            mask_BT[r, : len(ids)] = 1
        batch = {"input_ids": ids_BT, "attention_mask": mask_BT, "labels": labels_BT}
        yield {name: value.to(device) for name, value in batch.items()}


class Listed(NamedTuple):
    """Sequences in memory, (input_ids, labels) each. A span of all of one is (its number, 0, its length)."""

    rows: list[tuple[np.ndarray, np.ndarray]]
    pad_token_id: int = 0

    def sequence(self, chunk: int, start: int, stop: int) -> tuple[np.ndarray, np.ndarray]:
        ids, labels = self.rows[chunk]
        return ids[start:stop], labels[start:stop]

    @property
    def spans(self) -> np.ndarray:
        return np.array([(i, 0, len(ids)) for i, (ids, _) in enumerate(self.rows)], np.int64).reshape(-1, 3)


@torch.no_grad()
def sequence_losses(model: Any, tokens: Held, spans: np.ndarray, size: int) -> Iterator[TokenLoss]:
    """Loss of `model` (in eval mode) on each of `spans`, in order."""
    for batch in batches(tokens, spans, size, model.device):
        labels_BT = batch.pop("labels")
        logits_BTV = model(**batch, use_cache=False).logits
        for logits_TV, labels_T in zip(logits_BTV, labels_BT, strict=True):
            kept = labels_T[1:] != -100
            wanted = labels_T[1:][kept]
            # One row at a time: the fp32 copy of a whole batch's logits would be the largest tensor of an evaluation.
            nll = cross_entropy(logits_TV[:-1][kept].float(), wanted, reduction="sum").item()
            yield TokenLoss(nll, len(wanted))


def token_loss(
    model: Any, tokens: Held, spans: np.ndarray, size: int, done: Callable[[int], None] | None = None
) -> TokenLoss:
    """Loss of `model` (in eval mode) on all of `spans`; `done` hears how many sequences are behind it."""
    sums: list[float] = []
    count = 0
    for seen, found in enumerate(sequence_losses(model, tokens, spans, size), 1):
        sums.append(found.nll)
        count += found.tokens
        if done:
            done(seen)
    return TokenLoss(math.fsum(sums), count)
