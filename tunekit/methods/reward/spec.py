"""Outcome reward models: a number for a whole answer, learnt from pairs."""

from __future__ import annotations

from typing import Annotated, Literal

from tunekit.derive import Policy, Scope
from tunekit.label import Label
from tunekit.methods.judging import check_start, judge_of
from tunekit.methods.pairwise.spec import PairRun, derive_inputs
from tunekit.spec import PositiveFloat, semantic

__all__ = ["RewardModel", "derive", "policy"]


class RewardModel(PairRun, frozen=True, kw_only=True):
    """Bradley-Terry: minus log sigmoid of the chosen answer's reward minus the rejected one's, by TRL's RewardTrainer.
    The reward is a new head's number at the last token, on a language model. Not for answers that a program can check
    (a reward function is exact and cannot be gamed), nor for judging steps (`prm`)."""

    method: Annotated[Literal["reward"], semantic("This method.")] = "reward"
    learning_rate: Annotated[float, semantic("Peak learning rate.", gt=0)] = 1e-5
    center_rewards_coefficient: Annotated[
        PositiveFloat | None, semantic("Weight of the squared sum of a pair's rewards, which keeps their mean near 0.")
    ] = None


def derive(label: Label, spec: RewardModel, scope: Scope) -> None:
    check_start(spec, derive_inputs(label, spec, scope), scope)


def policy(label: Label, spec: RewardModel, scope: Scope) -> Policy:
    return judge_of(label, spec, scope, "a reward")
