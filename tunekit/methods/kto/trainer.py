"""TRL's KTOTrainer on token views, with log-probabilities of the reference that were made before and a KL term of the
whole step."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import Any

import torch
from torch.utils.data import DataLoader
from trl import KTOConfig, KTOTrainer

from tunekit.engine.arguments import training_arguments
from tunekit.engine.loading import Loaded
from tunekit.engine.weighing import COUNTS, Scored, Term
from tunekit.errors import ActionError
from tunekit.methods.kto.dataset import KtoCollator, ReferencedRows
from tunekit.methods.kto.spec import Kto
from tunekit.methods.pairwise.referenced import Referenced
from tunekit.methods.pairwise.run import arguments_of
from tunekit.protocol import Request

SIDES = ("chosen", "rejected")


class JudgedTrainer(Referenced, KTOTrainer):
    """Loss and figures of a forward pass are TRL's, which would estimate the KL term anew in each of them."""

    def __init__(self, trained: ReferencedRows, evaluated: ReferencedRows | None, **kwargs: Any) -> None:
        sample = {name: [0] for name in ("prompt_ids", "completion_ids")}
        super().__init__({**sample, "label": True}, trained, evaluated, **kwargs)
        self._kl = torch.zeros(())

    def get_batch_samples(self, epoch_iterator: Iterator[Any], num_batches: int, device: Any) -> tuple[list[Any], Any]:
        samples, nothing = super().get_batch_samples(epoch_iterator, num_batches, device)
        self._kl = self._estimate(samples)
        return samples, nothing

    def _estimate(self, batches: Iterable[dict[str, Any]]) -> torch.Tensor:
        """Mean log-ratio of the mismatched answers, over all processes; without dropout."""
        us: Any = self
        model = us.model
        found = torch.zeros(2, device=us.args.device, dtype=torch.float64)
        was_training = model.training
        model.eval()
        with torch.no_grad(), us.compute_loss_context_manager():
            for batch in batches:
                inputs = us._prepare_inputs({name: value for name, value in batch.items() if name != COUNTS})
                ratios_B = KTOTrainer._compute_kl_logps(self, model, inputs) - inputs["ref_KL_logps"]
                found += torch.stack([ratios_B.double().sum(), torch.full_like(found[0], len(ratios_B))])
        model.train(was_training)
        if us.args.world_size > 1:
            found = us.accelerator.gather(found[None]).sum(0)
        return (found[0] / found[1]).float()

    def _compute_kl_logps(self, model: Any, batch: dict[str, Any]) -> torch.Tensor:
        """TRL takes the mean of these less `ref_KL_logps`, which are 0 in `scored`."""
        return self._kl.expand(len(batch["label"]))

    def scored(self, model: Any, batch: dict[str, Any]) -> Scored:
        wanted_B = batch["label"]
        mask_BT = batch["completion_mask"][:, 1:]
        rows, tokens = len(wanted_B), int(mask_BT.sum())
        count = {"chosen": int(wanted_B.sum()), "rejected": int((~wanted_B).sum())}
        labels = {"chosen": int(mask_BT[wanted_B].sum()), "rejected": int(mask_BT[~wanted_B].sum())}
        loss = KTOTrainer.compute_loss(self, model, batch | {"ref_KL_logps": torch.zeros_like(batch["ref_KL_logps"])})
        # Means over this forward pass; of a step, and of all rows, they are what they are over.
        us: Any = self.model
        found = self._metrics["train" if us.training else "eval"]
        over = {"kl": rows, "entropy": tokens, "aux_loss": rows}
        for side in SIDES:
            over |= {f"rewards/{side}": count[side], f"logps/{side}": count[side], f"logits/{side}": labels[side]}
        figures = {name: (torch.tensor(found[name][-1] * n), n) for name, n in over.items() if found.get(name)}
        # A forward pass may have answers of one kind only; the history has a figure of both at every point, or neither.
        found.clear()
        return Scored([Term(loss * rows, "rows")], figures)

    def log(self, logs: dict[str, float], start_time: float | None = None) -> None:
        if "loss" in logs:
            means = {name: sum_ / count for name, (sum_, count) in self._sums.items() if count}
            logs |= _margin(means)
        super().log(logs, start_time)

    def _over(self, rows: Any) -> dict[str, float]:
        loader = DataLoader(rows, self.args.per_device_eval_batch_size, collate_fn=self.data_collator)
        self._kl = self._estimate(loader)
        found = super()._over(rows)
        return found | _margin(found)


def _margin(figures: dict[str, float]) -> dict[str, float]:
    """How far wanted answers are ahead of the others, where there are both."""
    chosen, rejected = (figures.get(f"rewards/{side}") for side in SIDES)
    return {} if chosen is None or rejected is None else {"rewards/margins": chosen - rejected}


def make_trainer(
    spec: Kto, request: Request, loaded: Loaded, trained: ReferencedRows, evaluated: ReferencedRows | None
) -> JudgedTrainer:
    """Raises ActionError `trainer-refused`, and those of the arguments."""
    args = training_arguments(
        KTOConfig,
        spec,
        request,
        beta=spec.beta,
        desirable_weight=spec.desirable_weight,
        undesirable_weight=spec.undesirable_weight,
        precompute_ref_log_probs=not loaded.has_adapter,  # else TRL loads a second model
        train_sampling_strategy="sequential",
        **arguments_of(evaluated, spec, request),
    )
    try:
        return JudgedTrainer(
            trained,
            evaluated,
            model=loaded.model,
            args=args,
            data_collator=KtoCollator(trained.judged.tokens.pad_token_id),
            processing_class=loaded.tokenizer,
        )
    except ValueError as e:
        raise ActionError(f"TRL refuses these settings: {e}", slug="trainer-refused") from e
