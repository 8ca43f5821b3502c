"""Steps with verdicts: token views as rows whose labels are 0 (wrong) and 1 (right) at the last token of each step.

Letters: B rows, T tokens.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from torch.utils.data import Dataset

from tunekit.engine.pairs import answers_of, warn_of_answers
from tunekit.engine.rows import Tokens
from tunekit.engine.weighing import COUNTS
from tunekit.methods.evaluated import evals_of
from tunekit.methods.pairwise.dataset import padded
from tunekit.methods.prm.spec import Prm
from tunekit.methods.spec import items_of
from tunekit.protocol import Events

Row = tuple[np.ndarray, np.ndarray]


class Steps(Dataset[Row]):
    """`rows[i]` is (input_ids, labels), int64; read from the memory-mapped parts when a batch asks for them."""

    def __init__(self, tokens: Tokens, spans: np.ndarray, last_only: bool) -> None:
        self.tokens = tokens
        self._spans = spans
        self._last_only = last_only

    def __len__(self) -> int:
        return len(self._spans)

    def __getitem__(self, index: int) -> Row:
        chunk, start, stop = self._spans[index].tolist()
        ids, labels = self.tokens.sequence(chunk, start, stop)
        ends = np.flatnonzero(labels != -100)
        # A row that was cut keeps its beginning, and the verdicts of the steps that ended within it.
        verdicts = np.array(self.tokens.verdicts(chunk, start)[: len(ends)], np.int64)
        labels = np.full_like(ids, -100)
        labels[ends[-1:] if self._last_only else ends] = verdicts[-1:] if self._last_only else verdicts
        return ids, labels


class StepCollator:
    """`input_ids`, `attention_mask`, `labels`, [B, T] each, padded on the right; and the counts."""

    def __init__(self, pad_token_id: int) -> None:
        self._pad_token_id = pad_token_id

    def __call__(self, rows: list[Row]) -> dict[str, Any]:
        batch: dict[str, Any] = padded(rows, self._pad_token_id)
        batch[COUNTS] = {
            "steps": int((batch["labels"] != -100).sum()),
            "tokens": int(batch["attention_mask"].sum()),
        }
        return batch


def open_steps(spec: Prm, tokens: Tokens, events: Events) -> tuple[Steps, Steps | None]:
    """What is trained on and what is evaluated (always every step); tells what became of every row.

    Raises ActionError: `row-too-long`, `no-labels`, `bad-tokens`.
    """
    items, evals = items_of(spec), evals_of(spec)
    views = []
    for at, item in enumerate([*items, *evals]):
        view = answers_of(
            tokens,
            at,
            spec.sequence_len,
            spec.overlong,
            limit=item.limit,
            weight=item.weight,
            name=item.dataset,
            reads="steps",
        )
        warn_of_answers(item.dataset, view, events)
        views.append(view)
    told = [{"dataset": i.dataset, **v.ledger} for i, v in zip([*items, *evals], views, strict=True)]
    events.effective(ledger={"data": told[: len(items)], "eval_data": told[len(items) :]})
    spans = [view.spans[0] for view in views]
    trained = Steps(tokens, np.concatenate(spans[: len(items)]), spec.train_on_last_step_only)
    return trained, Steps(tokens, np.concatenate(spans[len(items) :]), False) if evals else None
