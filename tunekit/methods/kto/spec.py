"""Kahneman-Tversky optimisation: single answers with a verdict, against the policy's own start."""

from __future__ import annotations

from typing import Annotated, Literal

from tunekit.derive import Scope
from tunekit.label import Label
from tunekit.methods.dpo.spec import derive_referenced
from tunekit.methods.evaluated import own_eval_data
from tunekit.methods.pairwise.spec import PairRun
from tunekit.methods.spec import DataItem, policy
from tunekit.spec import semantic
from tunekit.steps.reference.spec import Pairing

__all__ = ["Kto", "derive", "policy"]


class Kto(PairRun, frozen=True, kw_only=True):
    """KTO (Ethayarajh et al. 2024, arXiv:2402.01306) by TRL's KTOTrainer: 1 - sigmoid of `beta` times how far an
    answer's log-ratio to the reference is above (a wanted one) or below (an unwanted one) the KL between policy and
    reference, which the step's answers to each other's prompts estimate. For thumbs up and down. Not with pairs of
    answers, where dpo uses that they answer the same; not in steps of a few rows, whose KL is noise."""

    method: Annotated[Literal["kto"], semantic("This method.")] = "kto"
    batch_size: Annotated[
        int, semantic("Rows per optimizer step, over all devices; they estimate the KL term together.", ge=2)
    ] = 16
    learning_rate: Annotated[float, semantic("Peak learning rate.", gt=0)] = 1e-6
    overlong: Annotated[
        Literal["error", "drop", "keep_start", "keep_end"],
        semantic(
            "Rows longer than sequence_len: fail, leave them out, cut the end of the answer, or the beginning of the "
            "prompt (counted in the ledger)."
        ),
    ] = "error"
    eval_data: Annotated[
        list[str | DataItem], semantic("Answers with verdicts for the evaluation loss and margin.")
    ] = []
    beta: Annotated[float, semantic("How close the policy is held to the reference.", gt=0)] = 0.1
    desirable_weight: Annotated[float, semantic("Weight of wanted answers in the loss.", ge=0)] = 1.0
    undesirable_weight: Annotated[float, semantic("Weight of unwanted answers in the loss.", ge=0)] = 1.0
    reference: Annotated[
        str | None,
        semantic("The reference policy: `model:`, `run:` or `merge:` label; default: the policy at the start."),
    ] = None

    def checks(self) -> list[tuple[str, str, str]]:
        out = super().checks()
        if self.micro_batch_size == 1:
            message = "TRL's KTOTrainer takes no forward passes of one row"
            out.append(("micro_batch_size", message, "2 or more; gradient_checkpointing = true saves memory, too"))
        return out + own_eval_data(self)


def derive(label: Label, spec: Kto, scope: Scope) -> None:
    pairing = Pairing(seed=spec.seed, block=spec.batch_size)
    derive_referenced(label, spec, scope, ("verdict",), spec.reference, pairing)
