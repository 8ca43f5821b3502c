"""The project's rewards as the callables that TRL's trainer wants."""

from __future__ import annotations

from typing import Any

from tunekit.engine.prompts import Prompt
from tunekit.engine.rewards import Columns, Rewards, Values
from tunekit.steps.rewards.spec import Reward
from tunekit.usercode import split_path


class Scored:
    """One reward. TRL passes the numbers of the rows; columns are looked up here, so that a reward sees them as
    the dataset has them (TRL drops some names, and takes the columns of a batch's first row for all)."""

    def __init__(self, rewards: Rewards, fn: str, name: str, columns: Columns) -> None:
        self.__name__ = name  # what TRL calls it in metrics
        self._rewards = rewards
        self._fn = fn
        self._columns = columns

    def __call__(self, completions: list[str], row: list[int], trainer_state: Any, **_: Any) -> Values:
        prompts, columns = self._columns.take(row)
        return self._rewards.call(self._fn, completions, prompts, columns, f"after step {trainer_state.global_step}")


def names_of(rewards: list[Reward]) -> list[str]:
    """The function's name; with its file's where two files have one of that name, numbered where one is used twice."""
    parts = [split_path(r.fn) for r in rewards]
    plain = [function for _, function in parts]
    files = {function: {f for f, fn in parts if fn == function} for function in plain}
    names = [f"{f.removesuffix('.py')}.{fn}" if len(files[fn]) > 1 else fn for f, fn in parts]
    return [n if names.count(n) == 1 else f"{n}-{names[: i + 1].count(n)}" for i, n in enumerate(names)]


def scored(declared: list[Reward], rewards: Rewards, prompts: list[Prompt]) -> list[Any]:
    """One callable per declared reward, in order."""
    columns = Columns([p.row for p in prompts])
    return [Scored(rewards, r.fn, name, columns) for r, name in zip(declared, names_of(declared), strict=True)]
