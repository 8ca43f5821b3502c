"""Does this model, with this attention, compute documents that share a sequence as if each were alone?

Asked of the model itself, on a few of the run's own documents, before the first step: a list of architectures would
be wrong with the next release (Transformers 5.23 takes `position_ids` in gpt-oss and forgets them in its mask). A
model that cannot is refused by name.

Letters: B rows, T tokens, V vocabulary.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any, NamedTuple

import numpy as np
import torch
from torch.nn.functional import cross_entropy

from tunekit.engine.loading import Loaded
from tunekit.errors import ActionError
from tunekit.protocol import Events

GATE = "packed_loss"
Example = dict[str, Any]  # `input_ids`, `labels`, `seq_lengths`
Collate = Callable[[list[Example]], dict[str, Any]]


class Measured(NamedTuple):
    """Mean losses over the documents' tokens, and two differences between logits, each as a share of what it changes
    to run the documents together as one text: `differs`, of packed documents from lone ones; `leaks`, of packed
    documents after others from the same after other others. `effect` is that change as a share of the logits."""

    packed: float
    alone: float
    differs: float
    leaks: float
    effect: float


class Bounds(NamedTuple):
    """What rounding may explain. A masked token counts exactly nothing, so `leaks` is 0 in every precision."""

    loss: float
    differs: float
    leaks: float


BOUNDS = {"float32": Bounds(1e-4, 1e-3, 1e-5), "bfloat16": Bounds(2e-2, 0.2, 1e-4)}
_EFFECT = 1e-4  # with less, a leak would not show in the logits


def check_isolation(loaded: Loaded, examples: list[Example], collate: Collate, events: Events) -> Measured:
    """Leaves the receipt `packed_loss`. `examples`: of the dataset, several documents of 2 tokens or more in a batch.

    Raises ActionError `packing-not-honoured`.
    """
    bounds = BOUNDS[loaded.dtype]
    name = f"{type(loaded.base).__name__} with attn = {loaded.attn!r}"
    try:
        found = measure(loaded.model, examples, collate)
    except (TypeError, ValueError, RuntimeError, NotImplementedError) as e:
        raise _refused(f"{name} does not take a batch of packed documents: {e}") from e
    passed = (
        abs(found.packed - found.alone) <= bounds.loss * max(1.0, found.alone)
        and found.differs <= bounds.differs
        and found.leaks <= bounds.leaks
        and found.effect >= _EFFECT
    )
    wanted = f"loss within {bounds.loss:g}, differs <= {bounds.differs:g}, leaks <= {bounds.leaks:g}"
    events.gate(GATE, passed, found._asdict(), wanted)
    if not passed:
        raise _refused(
            f"{name} does not keep packed documents apart: loss {found.packed:.6g} packed and {found.alone:.6g} alone; "
            f"of what running documents together changes, packing changes {found.differs:.2g}, and what the documents "
            f"before say changes {found.leaks:.2g}"
        )
    return found


def _refused(message: str) -> ActionError:
    return ActionError(
        message,
        slug="packing-not-honoured",
        hint="leave packing and padding_free out (group_by_length = true saves most of the padding), or try another "
        "attn",
    )


def measure(model: Any, examples: list[Example], collate: Collate) -> Measured:
    """Forward passes of the batch as training sees it, of the same batch with other text before the last document of
    each row, of every document alone, and of every row as one text."""
    # Every token is a label here: the comparison then does not depend on what the rows train on.
    batch = collate([{**example, "labels": example["input_ids"]} for example in examples])
    was_training = model.training
    model.eval()
    try:
        with torch.no_grad():
            packed_BTV = _logits(model, batch)
            rows = _rows(examples, len(packed_BTV))
            other_BTV = _logits(model, {**batch, "input_ids": _with_other_text(batch["input_ids"], rows)})
            return _compare(model, rows, packed_BTV, other_BTV, batch["labels"])
    finally:
        model.train(was_training)


def _compare(
    model: Any, rows: list[list[np.ndarray]], packed_BTV: torch.Tensor, other_BTV: torch.Tensor, labels_BT: torch.Tensor
) -> Measured:
    packed = _nll(packed_BTV[:, :-1].flatten(0, 1), labels_BT[:, 1:].flatten())
    alone: list[tuple[float, int]] = []
    differs, leaks, apart, size = (_Square() for _ in range(4))
    for row, documents in enumerate(rows):
        run_on_TV = _alone(model, np.concatenate(documents))
        start = 0
        for ids in documents:
            here = slice(start, start + len(ids))
            lone_TV = _alone(model, ids)
            alone.append(_nll(lone_TV[:-1], torch.as_tensor(ids[1:])))
            if start:
                differs.add(packed_BTV[row, here] - lone_TV)
                apart.add(run_on_TV[here] - lone_TV)
                size.add(lone_TV)
            start = here.stop
        if len(documents) > 1:
            leaks.add(packed_BTV[row, here] - other_BTV[row, here])
    return Measured(
        _mean([packed]),
        _mean(alone),
        _share(differs, apart, math.inf),
        _share(leaks, apart, math.inf),
        _share(apart, size, 0.0),
    )


class _Square:
    """Root mean square of tensors as they come."""

    def __init__(self) -> None:
        self._sum, self._count = 0.0, 0

    def add(self, x: torch.Tensor) -> None:
        self._sum += float(x.double().square().sum())
        self._count += x.numel()

    @property
    def mean(self) -> float:
        return math.sqrt(self._sum / max(1, self._count))


def _share(part: _Square, whole: _Square, unknown: float) -> float:
    """`unknown` where there is nothing to compare with, or a NaN: no proof of anything."""
    share = part.mean / whole.mean if whole.mean else math.nan
    return share if math.isfinite(share) else unknown


def _rows(examples: list[Example], height: int) -> list[list[np.ndarray]]:
    """Token ids of the documents in every row of the batch: a row is an example, or one holds them all."""
    rows = [np.split(np.asarray(e["input_ids"]), np.cumsum(e["seq_lengths"])[:-1]) for e in examples]
    return rows if height == len(rows) else [[ids for row in rows for ids in row]]


def _with_other_text(input_ids_BT: torch.Tensor, rows: list[list[np.ndarray]]) -> torch.Tensor:
    """Every token before a row's last document replaced by the next of the batch's vocabulary."""
    known, place_BT = torch.unique(input_ids_BT, return_inverse=True)
    next_BT = known[(place_BT + 1) % len(known)]
    out = input_ids_BT.clone()
    for row, documents in enumerate(rows):
        before = sum(len(ids) for ids in documents[:-1])
        out[row, :before] = next_BT[row, :before]
    return out


def _logits(model: Any, batch: dict[str, Any]) -> torch.Tensor:
    """[B, T, V] in float32, on the CPU."""
    inputs = {name: value for name, value in batch.items() if name not in ("labels", "counts")}
    placed = {k: v.to(model.device) if isinstance(v, torch.Tensor) else v for k, v in inputs.items()}
    logits: torch.Tensor = model(**placed, use_cache=False).logits
    return logits.float().cpu()


def _alone(model: Any, ids: np.ndarray) -> torch.Tensor:
    """[T, V] of one text, with nothing said about positions or masks."""
    return _logits(model, {"input_ids": torch.as_tensor(ids)[None]})[0]


def _nll(logits_TV: torch.Tensor, labels_T: torch.Tensor) -> tuple[float, int]:
    """Sum of -ln p over the labels that count, and how many do."""
    nll = cross_entropy(logits_TV, labels_T, ignore_index=-100, reduction="sum")
    return float(nll), int((labels_T != -100).sum())


def _mean(sums: list[tuple[float, int]]) -> float:
    return math.fsum(nll for nll, _ in sums) / max(1, sum(count for _, count in sums))
