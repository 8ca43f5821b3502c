"""Answers with verdicts, each with the answer to another prompt that the KL term is estimated by.

Letters: B rows, T tokens.
"""

from __future__ import annotations

from functools import partial
from typing import Any, NamedTuple

import numpy as np
import torch
from torch.utils.data import Dataset

from tunekit.engine.pairs import Answers, answers_of, warn_of_answers
from tunekit.engine.rows import Tokens
from tunekit.engine.shuffle import permutation
from tunekit.engine.weighing import COUNTS
from tunekit.methods.evaluated import evals_of
from tunekit.methods.kto.spec import Kto
from tunekit.methods.pairwise.dataset import padded
from tunekit.methods.spec import items_of
from tunekit.protocol import Events

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


Row = tuple[Verdict, np.ndarray]


class ReferencedRows(Dataset[Row]):
    """`logps`: [n, 2], of the answer and of the mismatched one."""

    def __init__(self, judged: Judged, logps: np.ndarray) -> None:
        self.judged = judged
        self.logps = logps

    def __len__(self) -> int:
        return len(self.judged)

    def __getitem__(self, index: int) -> Row:
        return self.judged[index], self.logps[index]


class KtoCollator:
    """What TRL's collator makes, of token views: `input_ids`, `attention_mask` and `completion_mask`, [B, T], the same
    with `KL_` in front of the mismatched ones; `label`, `ref_logps` and `ref_KL_logps`, [B]; and the counts."""

    def __init__(self, pad_token_id: int) -> None:
        self._pad_token_id = pad_token_id

    def __call__(self, rows: list[Row]) -> dict[str, Any]:
        batch: dict[str, Any] = {}
        for prefix, side in (("", "answer"), ("KL_", "mismatched")):
            columns = padded([getattr(verdict, side) for verdict, _ in rows], self._pad_token_id)
            mask = (columns.pop("labels") != -100).long()
            mask[:, 0] = 0  # nothing is before it: it is never predicted
            batch |= {f"{prefix}{name}": value for name, value in (columns | {"completion_mask": mask}).items()}
        logps = torch.from_numpy(np.stack([found for _, found in rows]))
        return {
            **batch,
            "label": torch.tensor([verdict.wanted for verdict, _ in rows]),
            "ref_logps": logps[:, 0],
            "ref_KL_logps": logps[:, 1],
            COUNTS: {"rows": len(rows), "tokens": int(batch["attention_mask"].sum())},
        }


def open_judged(spec: Kto, tokens: Tokens, events: Events) -> tuple[Judged, Judged | None]:
    """What is trained on and what is evaluated; tells what became of every row.

    Raises ActionError: `row-too-long`, `no-labels`, `bad-tokens`.
    """
    items, evals = items_of(spec), evals_of(spec)
    views = []
    for at, item in enumerate([*items, *evals]):
        limits: dict[str, Any] = {"limit": item.limit, "weight": item.weight, "name": item.dataset}
        view = answers_of(tokens, at, spec.sequence_len, spec.overlong, **limits)
        warn_of_answers(item.dataset, view, events)
        views.append(view)
    told = [{"dataset": i.dataset, **v.ledger} for i, v in zip([*items, *evals], views, strict=True)]
    events.effective(ledger={"data": told[: len(items)], "eval_data": told[len(items) :]})
    trained, evaluated = views[: len(items)], views[len(items) :]
    make = partial(Judged, tokens, seed=spec.seed, block=spec.batch_size, sequence_len=spec.sequence_len)
    return make(trained), make(evaluated) if evaluated else None


def warn_of_balance(spec: Kto, judged: Judged, events: Events) -> None:
    """Tells how many answers are wanted, and warns if there are none of a kind, or if their weighted numbers are
    further apart than 4 to 3 (the paper's eq. 8 is 1 to 4/3)."""
    wanted, rest = judged.wanted, len(judged) - judged.wanted
    events.effective(verdicts={"wanted": wanted, "unwanted": rest})
    if not wanted or not rest:
        kind = "wanted" if wanted else "unwanted"
        events.warning("one-verdict", f"all {len(judged)} answers are {kind}: there is nothing to tell them apart by")
        return
    share = spec.desirable_weight * wanted / max(spec.undesirable_weight * rest, 1e-9)
    if not 3 / 4 <= share <= 4 / 3:
        message = (
            f"{wanted} answers are wanted and {rest} are not; by their weights the wanted ones count {share:.2g} times "
            f"as much. 1 to 1.33 is recommended: desirable_weight = {spec.undesirable_weight * rest / wanted:.2g}"
        )
        events.warning("unbalanced", message)
