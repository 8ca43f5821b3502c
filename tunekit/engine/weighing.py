"""Losses that are means over something else than tokens (pairs, steps), right under accumulation.

A trainer's own mean over each forward pass, averaged over the passes of a step, depends on how rows are cut: the last
step of an epoch has a short one, and tokens are never even. Here a loss is sums over what the whole step has: N micro
batches are one batch, and figures are means over rows, not over forward passes.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from typing import Any, NamedTuple

import torch
from torch.utils.data import DataLoader, Dataset

from tunekit.errors import ActionError

COUNTS = "counts"  # of a batch: how many of each unit it has, {unit: number}; `tokens` among them


class Term(NamedTuple):
    """`weight` times the mean of something over all `unit`s of a step; `sum` is that over a batch, with a gradient."""

    sum: torch.Tensor
    unit: str
    weight: float = 1.0


class Scored(NamedTuple):
    """What a batch adds. `figures`: name → (sum, how many it is over). `kept`: rows' own numbers, for what no sum tells
    (a rank, say); evaluation only."""

    terms: list[Term]
    figures: dict[str, tuple[torch.Tensor, int]]
    kept: dict[str, torch.Tensor] = {}


class Weighed:
    """In front of a trainer of Transformers or TRL: `class X(Weighed, RewardTrainer)`, with `scored`.

    Batches have `counts`. `eval_loss` is the same mean over all rows of `evaluated`, whatever the batch size.
    """

    loss_is_scaled_for_ga: Any = True  # Transformers then divides by nothing

    def __init__(self, *args: Any, evaluated: Dataset[Any] | None = None, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self._evaluated = evaluated
        self._step: Counter[str] = Counter()  # how many of each unit the step has, over all processes
        self._sums: dict[str, list[float]] = {}  # figures since the last point of the history: [sum, count]

    def scored(self, model: Any, batch: dict[str, Any]) -> Scored:
        """Of one batch (without its counts)."""
        raise NotImplementedError

    def concluded(self, kept: dict[str, torch.Tensor]) -> dict[str, float]:
        """Figures of an evaluation that are of all rows at once."""
        return {}

    def create_model_card(self, *args: Any, **kwargs: Any) -> None:
        """TRL renders a README into every checkpoint; staging is nobody's reading matter."""

    def get_batch_samples(self, epoch_iterator: Iterator[Any], num_batches: int, device: Any) -> tuple[list[Any], Any]:
        """The batches of a step, counted."""
        us: Any = self
        samples, _ = super().get_batch_samples(epoch_iterator, num_batches, device)  # type: ignore[misc]
        self._step = Counter()
        for batch in samples:
            self._step.update(batch[COUNTS])
        if us.args.world_size > 1:
            units = sorted(self._step)
            own = torch.tensor([[self._step[unit] for unit in units]], device=us.args.device)
            self._step = Counter(dict(zip(units, us.accelerator.gather(own).sum(0).tolist(), strict=True)))
        us.state.num_input_tokens_seen += self._step["tokens"]
        return samples, None

    def compute_loss(
        self, model: Any, inputs: dict[str, Any], return_outputs: bool = False, num_items_in_batch: Any = None
    ) -> torch.Tensor:
        us: Any = self
        if return_outputs:
            raise ValueError("this trainer evaluates by itself")
        inputs.pop(COUNTS)
        found = self.scored(model, inputs)
        self._note(found.figures)
        loss = total(found.terms, self._step)
        # Gradients are averaged over processes, and the counts are those of all of them.
        return loss * us.args.world_size

    def log(self, logs: dict[str, float], start_time: float | None = None) -> None:
        if "loss" in logs:
            logs |= {name: sum_ / count for name, (sum_, count) in self._sums.items() if count}
            self._sums = {}
        super().log(logs, start_time)  # type: ignore[misc]

    def evaluate(
        self, eval_dataset: Any = None, ignore_keys: list[str] | None = None, metric_key_prefix: str = "eval"
    ) -> dict[str, float]:
        us: Any = self
        if self._evaluated is None or eval_dataset is not None:
            raise ValueError("this trainer evaluates the rows that it was made with")
        us.model.eval()
        with torch.no_grad(), us.compute_loss_context_manager():
            found = self._over(self._evaluated)
        metrics = {f"{metric_key_prefix}_{name}": value for name, value in found.items()}
        us.log(dict(metrics))
        us.control = us.callback_handler.on_evaluate(us.args, us.state, us.control, metrics)
        return metrics

    def _over(self, rows: Dataset[Any]) -> dict[str, float]:
        us: Any = self
        loader = DataLoader(rows, us.args.per_device_eval_batch_size, collate_fn=us.data_collator)
        counts: Counter[str] = Counter()
        terms: list[Term] = []
        sums: dict[str, list[float]] = {}
        kept: dict[str, list[torch.Tensor]] = {}
        for batch in loader:
            counts.update(batch.pop(COUNTS))
            found = self.scored(us.model, us._prepare_inputs(batch))
            terms += found.terms
            _add(sums, {name: (value.item(), count) for name, (value, count) in found.figures.items()})
            for name, value in found.kept.items():
                kept.setdefault(name, []).append(value.cpu())
        figures = {name: sum_ / count for name, (sum_, count) in sums.items() if count}
        rest = self.concluded({name: torch.cat(values) for name, values in kept.items()})
        return {"loss": total(terms, counts).item(), **figures, **rest}

    def _note(self, figures: dict[str, tuple[torch.Tensor, int]]) -> None:
        us: Any = self
        names = sorted(figures)
        both = torch.tensor([[[figures[n][0].item(), figures[n][1]] for n in names]], device=us.args.device)
        if us.args.world_size > 1:
            both = us.accelerator.gather(both)
        found = both.double().sum(0).tolist()
        _add(self._sums, {name: (sum_, count) for name, (sum_, count) in zip(names, found, strict=True)})


def total(terms: list[Term], counts: Counter[str]) -> torch.Tensor:
    """ActionError `nothing-to-learn` where a step has none of a unit."""
    for term in terms:
        if not counts[term.unit]:
            raise ActionError(f"a step has no {term.unit}", slug="nothing-to-learn", hint="raise batch_size")
    return torch.stack([term.weight * term.sum / counts[term.unit] for term in terms]).sum()


def _add(sums: dict[str, list[float]], more: dict[str, tuple[float, float]]) -> None:
    for name, (value, count) in more.items():
        old = sums.setdefault(name, [0.0, 0.0])
        old[0] += value
        old[1] += count
