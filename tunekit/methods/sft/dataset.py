"""Token views as the dataset that TRL's trainer takes: spans on disk stay there until a batch asks for them."""

from __future__ import annotations

from typing import Any, NamedTuple

import msgspec
import numpy as np
from torch.utils.data import Dataset

from tunekit.engine.heldout import Side
from tunekit.engine.rows import Held, Tokens, View, view_of, warn_of_length
from tunekit.errors import ActionError
from tunekit.methods.evaluated import evals_of
from tunekit.methods.sft.spec import Sft
from tunekit.methods.spec import DataItem, items_of
from tunekit.protocol import Events


class Views(NamedTuple):
    """One per declared dataset, in order: trained on, evaluated, and of `val` what is held out of each."""

    trained: list[View]
    evaluated: list[View]
    held_out: list[View]


def views(spec: Sft, tokens: Tokens) -> Views:
    """What is read of the tokens: those of `data`, then those of `eval_data`.

    Raises ActionError: `row-too-long`, `no-labels`.
    """
    train_items = [] if spec.streaming else items_of(spec)
    eval_items = evals_of(spec)
    if len(tokens.items) != len(train_items) + len(eval_items):
        raise ActionError(
            f"{len(tokens.items)} token items for {len(train_items)} + {len(eval_items)} datasets", slug="bad-tokens"
        )
    first = len(train_items)
    side = Side(spec.val, evaluated=False) if spec.val else None
    trained = [_view(spec, tokens, i, item, side) for i, item in enumerate(train_items)]
    evaluated = [_view(spec, tokens, first + i, item) for i, item in enumerate(eval_items)]
    held_out: list[View] = []
    if spec.val:
        side = Side(spec.val, evaluated=True)
        once = [msgspec.structs.replace(item, weight=1.0) for item in train_items]
        held_out = [_view(spec, tokens, i, item, side) for i, item in enumerate(once)]
    return Views(trained, evaluated, held_out)


def _view(spec: Sft, tokens: Tokens, i: int, item: DataItem, side: Side | None = None) -> View:
    name, hint = item.dataset, 'train_on = "all" labels every token; look at the ledger for what was dropped'
    view = view_of(
        tokens, i, spec.sequence_len, spec.overlong, limit=item.limit, weight=item.weight, name=name, side=side
    )
    if not len(view.spans):
        if side and side.evaluated:
            name, hint = f"the held-out share of {name}", "raise `val`, or give `eval_data`"
        raise ActionError(f"{name} has no token to learn or to score: {view.ledger}", slug="no-labels", hint=hint)
    return view


def ledger(items: list[DataItem], found: list[View]) -> list[dict[str, Any]]:
    """What became of every row, per dataset."""
    return [{"dataset": item.dataset, **view.ledger} for item, view in zip(items, found, strict=True)]


def warn_of_lengths(spec: Sft, items: list[DataItem], found: list[View], events: Events) -> None:
    """A warning for each dataset with rows that the length policy changed."""
    for item, view in zip(items, found, strict=True):
        warn_of_length(item.dataset, view, spec.sequence_len, spec.overlong, events)


class Documents(Dataset[dict[str, Any]]):
    """`documents[i]` is one document, `documents[[i, j, …]]` several of them in one sequence: token ids and labels
    one after the other (int64), and the length of each. Read from the memory-mapped parts when asked for."""

    def __init__(self, tokens: Held, spans: np.ndarray) -> None:
        self.tokens = tokens
        self.spans = spans

    def __len__(self) -> int:
        return len(self.spans)

    @property
    def lengths(self) -> np.ndarray:
        return self.spans[:, 2] - self.spans[:, 1]

    def __getitem__(self, index: Any) -> dict[str, Any]:
        found = [self.tokens.sequence(*span) for span in self.spans[np.atleast_1d(index)].tolist()]
        return {
            "input_ids": np.concatenate([ids for ids, _ in found]),
            "labels": np.concatenate([labels for _, labels in found]),
            "seq_lengths": [len(ids) for ids, _ in found],
        }


def documents_of(tokens: Tokens, found: list[View]) -> Documents:
    """The sequences of all views, one after the other."""
    return Documents(tokens, np.concatenate([view.spans for view in found]))


def sample_of(documents: Documents, size: int = 4, length: int = 64) -> list[dict[str, Any]]:
    """Two short sequences of `size` documents (the last one alone), for a check that costs little.

    The documents are those nearest to `length` tokens, of longer ones the end.
    """
    nearest = np.argsort(np.abs(documents.lengths - length), kind="stable")
    spans = documents.spans[np.resize(nearest, size)].copy()
    spans[:, 1] = np.maximum(spans[:, 1], spans[:, 2] - 2 * length)
    cut = Documents(documents.tokens, spans)
    return [cut[np.arange(size - 1)], cut[size - 1]]
