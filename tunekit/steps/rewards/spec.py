"""The implicit `#rewards` step: reward functions are tried on a few rows before anything is trained (decision 3)."""

from __future__ import annotations

from typing import Annotated

from tunekit.derive import Action, Edge, action_of
from tunekit.label import Label
from tunekit.spec import Spec, operational, semantic


class Reward(Spec, frozen=True, kw_only=True):
    """A function `fn(completions, **columns) -> list[float | None]`; `completions[i][0]["content"]` is the text."""

    fn: Annotated[str, semantic("`file.py:function` of the project.")]
    weight: Annotated[float, semantic("Weight in the sum of rewards.")] = 1.0


class RewardCheck(Spec, frozen=True, kw_only=True):
    """What the smoke run does."""

    rewards: Annotated[list[Reward], semantic("As the run declares them.")]
    rows: Annotated[int, semantic("Rows tried.")] = 4
    timeout: Annotated[float, operational("Seconds one call may take.", gt=0)] = 30.0


def rewards_action(owner: Label, rewards: list[Reward], timeout: float, data: list[Edge], code: list[str]) -> Action:
    return action_of(
        Label(owner.kind, owner.name, step="rewards"),
        "rewards",
        RewardCheck(rewards=rewards, timeout=timeout),
        inputs={"data": data},
        code=code,
    )
