"""Simple preference optimisation: the mean log-probability of an answer is its reward, without a reference."""

from __future__ import annotations

from typing import Annotated, Literal

from tunekit.methods.pairwise.spec import PairRun, derive
from tunekit.methods.spec import policy
from tunekit.spec import semantic

__all__ = ["Simpo", "derive", "policy"]


class Simpo(PairRun, frozen=True, kw_only=True):
    """SimPO (Meng et al. 2024, arXiv:2405.14734) by TRL's CPOTrainer: minus log sigmoid of `beta` times the difference
    of the answers' mean token log-probabilities, minus the target margin `simpo_gamma`. Half of DPO's memory. Not
    with a high learning rate or many epochs: nothing holds the policy, and it forgets (`cpo_alpha` > 0 or `dpo`)."""

    method: Annotated[Literal["simpo"], semantic("This method.")] = "simpo"
    learning_rate: Annotated[float, semantic("Peak learning rate.", gt=0)] = 1e-6
    beta: Annotated[float, semantic("Scale of the reward.", gt=0)] = 2.0
    simpo_gamma: Annotated[float, semantic("Reward by which a chosen answer shall be ahead.", ge=0)] = 1.0
    cpo_alpha: Annotated[float, semantic("Weight of the chosen answer's next-token loss beside it; 0: none.", ge=0)] = (
        0.0
    )
    label_smoothing: Annotated[float, semantic("Share of the pairs that may be the wrong way round.", ge=0, lt=0.5)] = (
        0.0
    )
