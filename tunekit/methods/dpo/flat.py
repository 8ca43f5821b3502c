"""A padded batch computed as one row without padding: the loss sees the one, the model the other.

Letters: B sequences, T tokens, N tokens that are no padding.
"""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np
import torch

from tunekit.engine.isolation import check_isolation
from tunekit.engine.loading import Loaded
from tunekit.methods.pairwise.dataset import Pairs
from tunekit.methods.sft.batches import Collator
from tunekit.protocol import Events

_LONGEST = 128  # tokens of a sequence of the sample


class Found(NamedTuple):
    """What TRL's head gives of each token, [B, T - 1]; 0 where there is no label."""

    log_probs: torch.Tensor
    entropy: torch.Tensor
    mean_logits: torch.Tensor
    is_top1: torch.Tensor
    log_sum_sq_probs: torch.Tensor | None = None
    aux_loss: torch.Tensor | None = None


_OF_TOKENS = Found._fields[:-1]


class Flat:
    """In the place of a model with TRL's head. (TRL 1.16 takes `padding_free` for DPO, warns and pads.)"""

    def __init__(self, model: Any) -> None:
        self._model = model

    def __call__(
        self, input_ids: torch.Tensor, attention_mask: torch.Tensor, labels: torch.Tensor, **kwargs: Any
    ) -> Found:
        keep_BT = attention_mask.bool()
        labels_BT = labels.clone()
        labels_BT[:, 0] = -100  # in the row, the token before it is another sequence's
        positions_BT = attention_mask.cumsum(dim=1) - 1
        row = {"input_ids": input_ids, "position_ids": positions_BT, "labels": labels_BT}
        out = self._model(**{name: value[keep_BT][None] for name, value in row.items()}, **kwargs)

        def padded(value_1N: torch.Tensor) -> torch.Tensor:
            first = value_1N.new_zeros(1)
            padded_BT = value_1N.new_zeros(keep_BT.shape)
            return padded_BT.masked_scatter(keep_BT, torch.cat([first, value_1N[0]]))[:, 1:]

        return Found(
            **{name: padded(value) for name, value in out.items() if name in _OF_TOKENS}, aux_loss=out.aux_loss
        )


def check_flat(loaded: Loaded, pairs: Pairs, events: Events) -> None:
    """Raises ActionError `packing-not-honoured` if this model does not keep the sequences of a row apart."""
    ids = [pairs[i % len(pairs)].chosen[0][-_LONGEST:] for i in range(4)]
    examples = [
        {"input_ids": np.concatenate(some), "labels": np.concatenate(some), "seq_lengths": [len(x) for x in some]}
        for some in (ids[:3], ids[3:])
    ]
    check_isolation(loaded, examples, Collator(pairs.tokens.pad_token_id, "flat"), events)
