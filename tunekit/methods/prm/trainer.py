"""Transformers' Trainer with the loss of a process reward model: TRL has none any more.

Letters: B rows, T tokens, N steps.
"""

from __future__ import annotations

from typing import Any

import torch
from peft import PeftModel
from torch.nn.functional import cross_entropy
from transformers import Trainer, TrainingArguments

from tunekit.engine.arguments import training_arguments
from tunekit.engine.heads import Head
from tunekit.engine.loading import Loaded
from tunekit.engine.weighing import Scored, Term, Weighed
from tunekit.methods.pairwise.run import plain_arguments
from tunekit.methods.prm.dataset import StepCollator, Steps
from tunekit.methods.prm.figures import auc, balanced_accuracy
from tunekit.methods.prm.spec import Prm
from tunekit.protocol import Request

HEAD = Head("TOKEN_CLS", 2)


class StepTrainer(Weighed, Trainer):
    """Mean cross-entropy over the steps of an optimizer step."""

    def scored(self, model: Any, batch: dict[str, Any]) -> Scored:
        labels_BT = batch.pop("labels")
        logits_BT2 = model(**batch, use_cache=False).logits
        ends_BT = labels_BT != -100
        logits_N2, right_N = logits_BT2[ends_BT].float(), labels_BT[ends_BT]
        loss = cross_entropy(logits_N2, right_N, reduction="sum")
        scores_N = (logits_N2[:, 1] - logits_N2[:, 0]).detach()
        correct = ((scores_N > 0) == right_N.bool()).float().sum()
        return Scored(
            [Term(loss, "steps")], {"accuracy": (correct, len(right_N))}, {"scores": scores_N, "right": right_N}
        )

    def concluded(self, kept: dict[str, torch.Tensor]) -> dict[str, float]:
        scores, right = kept["scores"].numpy(), kept["right"].bool().numpy()
        found = {
            "balanced_accuracy": balanced_accuracy(scores, right),
            "auc": auc(scores, right),
            "share_right": float(right.mean()),
        }
        return {name: value for name, value in found.items() if value is not None}


def make_trainer(spec: Prm, request: Request, loaded: Loaded, trained: Steps, evaluated: Steps | None) -> StepTrainer:
    """Raises ActionError: those of the arguments."""
    args = training_arguments(TrainingArguments, spec, request, **plain_arguments(evaluated, spec, request))
    if spec.gradient_checkpointing and isinstance(loaded.model, PeftModel):
        loaded.model.enable_input_require_grads()  # nothing that is trained is in front of the first layer
    return StepTrainer(
        model=loaded.model,
        args=args,
        data_collator=StepCollator(trained.tokens.pad_token_id),
        train_dataset=trained,
        eval_dataset=evaluated,
        evaluated=evaluated,
    )
