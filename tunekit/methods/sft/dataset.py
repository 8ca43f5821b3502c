"""Token views as the datasets that TRL's trainer takes: spans on disk stay there until a batch asks for them."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from tunekit.engine.rows import Tokens, View, view_of
from tunekit.errors import ActionError
from tunekit.methods.sft.spec import Sft
from tunekit.methods.spec import DataItem, items_of

if TYPE_CHECKING:
    from datasets import Dataset

_COLUMNS = ("chunk", "start", "stop")


def views(spec: Sft, tokens: Tokens) -> tuple[list[View], list[View]]:
    """Training and evaluation views, one per declared dataset, in order.

    Raises ActionError: `row-too-long`, `no-labels`.
    """
    train_items = items_of(spec)
    eval_items = [DataItem(dataset=i) if isinstance(i, str) else i for i in spec.eval_data]
    if len(tokens.items) != len(train_items) + len(eval_items):
        raise ActionError(
            f"{len(tokens.items)} token items for {len(train_items)} + {len(eval_items)} datasets", slug="bad-tokens"
        )
    made = [
        view_of(tokens, i, spec.sequence_len, spec.overlong, limit=item.limit, weight=item.weight, name=item.dataset)
        for i, item in enumerate(train_items + eval_items)
    ]
    for item, view in zip(train_items + eval_items, made, strict=True):
        if not len(view.spans):
            raise ActionError(
                f"{item.dataset} has no token to learn or to score: {view.ledger}",
                slug="no-labels",
                hint='train_on = "all" labels every token; look at the ledger for what was dropped',
            )
    return made[: len(train_items)], made[len(train_items) :]


def ledger(items: list[DataItem], found: list[View]) -> list[dict[str, Any]]:
    """What became of every row, per dataset."""
    return [{"dataset": item.dataset, **view.ledger} for item, view in zip(items, found, strict=True)]


def spans_of(found: list[View]) -> np.ndarray:
    """[n, 3] int64: the sequences of all views, one after the other."""
    return np.concatenate([view.spans for view in found])


class _Sequences:
    """Spans → `input_ids` and `labels`. Small to pickle: `datasets` hashes a transform by its pickle."""

    def __init__(self, tokens: Tokens) -> None:
        self._tokens = tokens

    def __call__(self, batch: dict[str, list[int]]) -> dict[str, list[list[int]]]:
        rows = [
            self._tokens.sequence(*span) for span in zip(batch["chunk"], batch["start"], batch["stop"], strict=True)
        ]
        return {"input_ids": [ids for ids, _ in rows], "labels": [labels for _, labels in rows]}


def dataset_of(tokens: Tokens, spans: np.ndarray) -> Dataset:
    """One row per sequence, read from the memory-mapped parts when it is asked for."""
    from datasets import Dataset

    columns = {name: spans[:, i] for i, name in enumerate(_COLUMNS)}
    return Dataset.from_dict(columns).with_transform(_Sequences(tokens))


def packed_dataset_of(tokens: Tokens, spans: np.ndarray, sequence_len: int) -> Dataset:
    """Several sequences a row (best fit decreasing), with `seq_lengths` for a variable-length attention."""
    from datasets import Dataset
    from trl import pack_dataset

    rows = _Sequences(tokens)({n: spans[:, i].tolist() for i, n in enumerate(_COLUMNS)})
    return pack_dataset(Dataset.from_dict(rows), sequence_len, strategy="bfd")
