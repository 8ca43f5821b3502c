"""Odds ratio preference optimisation: supervised fine-tuning and preference in one loss, without a reference."""

from __future__ import annotations

from typing import Annotated, Literal

from tunekit.methods.pairwise.spec import PairRun, derive
from tunekit.methods.spec import policy
from tunekit.spec import semantic

__all__ = ["Orpo", "derive", "policy"]


class Orpo(PairRun, frozen=True, kw_only=True):
    """ORPO (Hong et al. 2024, arXiv:2403.07691) by TRL's ORPOTrainer: next-token loss of prompt and chosen answer,
    minus `beta` times log sigmoid of the log odds ratio of the two answers' mean token probabilities. From a base
    model, in one stage, half of DPO's memory. Not on top of a policy that was tuned well already: the next-token loss
    pulls it to the chosen answers as they are written; `dpo` keeps to it."""

    method: Annotated[Literal["orpo"], semantic("This method.")] = "orpo"
    learning_rate: Annotated[float, semantic("Peak learning rate.", gt=0)] = 8e-6
    beta: Annotated[
        float, semantic("Weight of the odds ratio beside the next-token loss (lambda in the paper).", gt=0)
    ] = 0.1
