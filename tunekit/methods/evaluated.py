"""What runs declare whose method evaluates while it trains."""

from __future__ import annotations

from typing import Annotated, Literal

from tunekit.methods.spec import DataItem, Run
from tunekit.spec import PositiveInt, Share, semantic


class Evaluated(Run, frozen=True, kw_only=True):
    """Rows that are evaluated, when, and what follows from it."""

    eval_data: Annotated[list[str | DataItem], semantic("Datasets for the evaluation loss.")] = []
    val: Annotated[
        Share | None, semantic("Share of the rows of `data` that is held out and evaluated (by their content).")
    ] = None
    eval_steps: Annotated[PositiveInt | None, semantic("Steps between evaluations; default: at the end.")] = None
    keep: Annotated[Literal["last", "best"], semantic("Which weights `run:x` names (both are stored).")] = "last"
    patience: Annotated[
        PositiveInt | None, semantic("End after so many evaluations without a lower loss; default: never.")
    ] = None
    min_delta: Annotated[float, semantic("By how much a loss must be lower to count for `patience`.", ge=0)] = 0.0

    def checks(self) -> list[tuple[str, str, str]]:
        out = super().checks()
        evaluates = bool(self.eval_data or self.val)
        if self.keep == "best" and not evaluates:
            hint = "add a dataset to choose the best weights by, or hold rows out: `val = 0.05`"
            out.append(("keep", '`keep = "best"` needs `eval_data` or `val`', hint))
        if self.val in (0.0, 1.0):
            out.append(("val", f"`val = {self.val}` leaves one side empty", "a share between 0 and 1, or leave it out"))
        if self.patience and not (evaluates and self.eval_steps):
            message = "`patience` counts evaluations: it needs `eval_steps`, and `eval_data` or `val`"
            out.append(("patience", message, "say when and on what it is evaluated"))
        if self.min_delta and not self.patience:
            out.append(("min_delta", "`min_delta` is for `patience`, which is not set", "set it, or leave this out"))
        return out


def own_eval_data(spec: Evaluated) -> list[tuple[str, str, str]]:
    """For methods whose rows are not held out by themselves."""
    message = f"`{spec.method}` holds no rows out of `data` by itself"
    return [("val", message, "name a dataset in `eval_data`")] if spec.val else []


def evals_of(spec: Evaluated) -> list[DataItem]:
    """`eval_data`, every item as a table."""
    return [DataItem(dataset=i) if isinstance(i, str) else i for i in spec.eval_data]
