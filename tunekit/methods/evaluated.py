"""Runs that are evaluated on rows of their own form while they train, and keep the best weights."""

from __future__ import annotations

from typing import Annotated, Literal

from tunekit.methods.spec import DataItem, Run
from tunekit.spec import PositiveInt, semantic


class Evaluated(Run, frozen=True, kw_only=True):
    """`eval_data` in the form of `data`."""

    eval_data: Annotated[list[str | DataItem], semantic("Datasets for the evaluation loss and figures.")] = []
    eval_steps: Annotated[PositiveInt | None, semantic("Steps between evaluations; default: at the end.")] = None
    keep: Annotated[Literal["last", "best"], semantic("Which weights `run:x` names (both are stored).")] = "last"

    def checks(self) -> list[tuple[str, str, str]]:
        out = super().checks()
        if self.keep == "best" and not self.eval_data:
            out.append(("keep", '`keep = "best"` needs `eval_data`', "add a dataset to choose the best weights by"))
        return out


def evals_of(spec: Evaluated) -> list[DataItem]:
    """`eval_data`, every item as a table."""
    return [DataItem(dataset=i) if isinstance(i, str) else i for i in spec.eval_data]
