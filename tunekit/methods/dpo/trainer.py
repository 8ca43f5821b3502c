"""TRL's DPOTrainer on pairs of token views, with log-probabilities of the reference that were made before."""

from __future__ import annotations

from typing import Any

import torch
from trl import DPOConfig, DPOTrainer

from tunekit.engine.arguments import training_arguments
from tunekit.engine.loading import Loaded
from tunekit.engine.weighing import Scored, Term
from tunekit.errors import ActionError
from tunekit.methods.dpo.dataset import DpoCollator, ReferencedPairs
from tunekit.methods.dpo.flat import Flat
from tunekit.methods.dpo.spec import Dpo, ReferencedRun
from tunekit.methods.pairwise.referenced import Referenced
from tunekit.methods.pairwise.run import arguments_of
from tunekit.protocol import Request

PAIRS = (
    "rewards/chosen",
    "rewards/rejected",
    "rewards/accuracies",
    "rewards/margins",
    "logps/chosen",
    "logps/rejected",
)


class ReferenceTrainer(Referenced, DPOTrainer):
    """Loss and figures of a forward pass are TRL's."""

    def __init__(self, trained: ReferencedPairs, evaluated: ReferencedPairs | None, flat: bool, **kwargs: Any) -> None:
        sample = {name: [0] for name in ("prompt_ids", "chosen_ids", "rejected_ids")}
        super().__init__(sample, trained, evaluated, **kwargs)
        self._flat = flat

    def scored(self, model: Any, batch: dict[str, Any]) -> Scored:
        pairs = len(batch["ref_chosen_logps"])
        mask_BT = batch["completion_mask"][:, 1:]
        chosen, rejected = (int(side.sum()) for side in mask_BT.chunk(2))
        loss = DPOTrainer.compute_loss(self, Flat(model) if self._flat else model, batch)
        # Means over this forward pass; of a step, and of all rows, they are what they are over.
        us: Any = self.model
        found = self._metrics["train" if us.training else "eval"]
        over = dict.fromkeys(PAIRS, pairs) | {
            "entropy": chosen + rejected,
            "logits/chosen": chosen,
            "logits/rejected": rejected,
            "mean_token_accuracy": chosen,
            "aux_loss": pairs,
        }
        figures = {name: (torch.tensor(found[name][-1] * n), n) for name, n in over.items() if name in found}
        found.clear()
        return Scored([Term(loss * pairs, "pairs")], figures)


def losses_of(spec: ReferencedRun) -> dict[str, Any]:
    """TRL's names for the loss, and their weights.

    TRL's sigmoid loss S knows no smoothing, but its robust one does: R = ((1-e) S - e F) / (1-2e), with F the loss of
    the flipped pair. So smoothing, (1-e) S + e F, is 2 (1-e) S - (1-2e) R.
    """
    if not isinstance(spec, Dpo):
        return {"loss_type": ["ipo"]}
    e = spec.label_smoothing
    if spec.loss == "robust":
        return {"loss_type": ["robust"], "label_smoothing": e}
    if e:
        weights = [2 * (1 - e), -(1 - 2 * e)]
        return {"loss_type": ["sigmoid", "robust"], "loss_weights": weights, "label_smoothing": e}
    return {"loss_type": ["sigmoid_norm" if spec.norm else "sigmoid"]}


def make_trainer(
    spec: ReferencedRun,
    request: Request,
    loaded: Loaded,
    trained: ReferencedPairs,
    evaluated: ReferencedPairs | None,
    beta: float,
) -> ReferenceTrainer:
    """Raises ActionError `trainer-refused`, and those of the arguments."""
    args = training_arguments(
        DPOConfig,
        spec,
        request,
        beta=beta,
        use_weighting=spec.use_weighting,
        precompute_ref_log_probs=not loaded.has_adapter,  # else TRL loads a second model
        **losses_of(spec),
        **arguments_of(evaluated.pairs if evaluated else None, spec, request),
    )
    try:
        return ReferenceTrainer(
            trained,
            evaluated,
            spec.padding_free,
            model=loaded.model,
            args=args,
            data_collator=DpoCollator(trained.pairs.tokens.pad_token_id),
            processing_class=loaded.tokenizer,
        )
    except ValueError as e:
        raise ActionError(f"TRL refuses these settings: {e}", slug="trainer-refused") from e
