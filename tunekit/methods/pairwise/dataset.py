"""Pairs of token views as the dataset that trainers take, and as padded batches.

Letters: B pairs, T tokens.
"""

from __future__ import annotations

from typing import Any, NamedTuple

import msgspec
import numpy as np
import torch
from torch.utils.data import Dataset

from tunekit.engine.heldout import Side
from tunekit.engine.pairs import Answers, pairs_of, warn_of_answers
from tunekit.engine.rows import Tokens
from tunekit.engine.weighing import COUNTS
from tunekit.methods.evaluated import evals_of
from tunekit.methods.pairwise.spec import PairRun
from tunekit.methods.spec import DataItem, items_of
from tunekit.protocol import Events

SIDES = ("chosen", "rejected")


class Pair(NamedTuple):
    """(input_ids, labels) of both answers, int64; a token without a label is -100."""

    chosen: tuple[np.ndarray, np.ndarray]
    rejected: tuple[np.ndarray, np.ndarray]


class Pairs(Dataset[Pair]):
    """Read from the memory-mapped parts when a batch asks for them."""

    def __init__(self, tokens: Tokens, found: list[Answers]) -> None:
        self.tokens = tokens
        self._chosen, self._rejected = (np.concatenate([view.spans[side] for view in found]) for side in (0, 1))
        self.rows = np.concatenate([view.rows for view in found])  # numbers in their datasets

    def __len__(self) -> int:
        return len(self._chosen)

    def __getitem__(self, index: int) -> Pair:
        read = self.tokens.sequence
        return Pair(read(*self._chosen[index].tolist()), read(*self._rejected[index].tolist()))

    def sequences(self, index: int) -> Pair:
        """As `tunekit.engine.reference` scores them."""
        return self[index]

    def map(self, *args: Any, **kwargs: Any) -> Pairs:
        """TRL makes tokens of texts by mapping its dataset: of these there is nothing left to make."""
        return self


def padded(rows: list[tuple[np.ndarray, np.ndarray]], pad_token_id: int) -> dict[str, torch.Tensor]:
    """`input_ids`, `attention_mask` and `labels`, [B, T] each, padded on the right."""
    width = max(len(ids) for ids, _ in rows)
    ids_BT = torch.full((len(rows), width), pad_token_id)
    labels_BT, mask_BT = torch.full_like(ids_BT, -100), torch.zeros_like(ids_BT)
    for r, (ids, labels) in enumerate(rows):
        ids_BT[r, : len(ids)] = torch.from_numpy(ids)
        labels_BT[r, : len(ids)] = torch.from_numpy(labels)
        mask_BT[r, : len(ids)] = 1
    return {"input_ids": ids_BT, "attention_mask": mask_BT, "labels": labels_BT}


class PairCollator:
    """`chosen_input_ids`, `chosen_attention_mask`, `chosen_labels`, and the same of `rejected`, as TRL's trainers have
    them, each side padded to its own longest; and the counts of pairs, of tokens, and of what can be predicted of the
    chosen side: its labelled tokens, and all of them."""

    def __init__(self, pad_token_id: int) -> None:
        self._pad_token_id = pad_token_id

    def __call__(self, pairs: list[Pair]) -> dict[str, Any]:
        batch: dict[str, Any] = {}
        for side in SIDES:
            columns = padded([getattr(pair, side) for pair in pairs], self._pad_token_id)
            batch |= {f"{side}_{name}": value for name, value in columns.items()}
        chosen_BT = batch["chosen_attention_mask"]
        batch[COUNTS] = {
            "pairs": len(pairs),
            "tokens": int(sum(batch[f"{side}_attention_mask"].sum() for side in SIDES)),
            "chosen tokens": int(chosen_BT[:, 1:].sum()),
            "chosen labels": int((batch["chosen_labels"][:, 1:] != -100).sum()),
        }
        return batch


def open_pairs(spec: PairRun, tokens: Tokens, events: Events) -> tuple[Pairs, Pairs | None]:
    """What is trained on and what is evaluated; tells what became of every row.

    Raises ActionError: `row-too-long`, `no-labels`, `bad-tokens`.
    """
    items, evals = items_of(spec), evals_of(spec)
    sides = [Side(spec.val, evaluated) if spec.val else None for evaluated in (False, True)]
    trained = [_answers(spec, tokens, i, item, sides[0]) for i, item in enumerate(items)]
    evaluated = [_answers(spec, tokens, len(items) + i, item) for i, item in enumerate(evals)]
    held_out = []
    if spec.val:
        once = [msgspec.structs.replace(item, weight=1.0) for item in items]
        held_out = [_answers(spec, tokens, i, item, sides[1]) for i, item in enumerate(once)]
    told = {"data": _ledger(items, trained), "eval_data": _ledger(evals, evaluated)}
    events.effective(ledger=told | ({"val": _ledger(items, held_out)} if held_out else {}))
    for item, view in zip([*items, *evals], trained + evaluated, strict=True):
        warn_of_answers(item.dataset, view, events)
    return Pairs(tokens, trained), Pairs(tokens, evaluated + held_out) if evaluated + held_out else None


def _answers(spec: PairRun, tokens: Tokens, i: int, item: DataItem, side: Side | None = None) -> Answers:
    """The pairs of the dataset that is the i-th of those that were made tokens."""
    name = f"the held-out share of {item.dataset}" if side and side.evaluated else item.dataset
    return pairs_of(
        tokens,
        len(SIDES) * i,
        spec.sequence_len,
        spec.overlong,
        limit=item.limit,
        weight=item.weight,
        name=name,
        side=side,
    )


def _ledger(items: list[DataItem], found: list[Answers]) -> list[dict[str, Any]]:
    return [{"dataset": item.dataset, **view.ledger} for item, view in zip(items, found, strict=True)]
