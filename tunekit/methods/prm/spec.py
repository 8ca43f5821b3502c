"""Process reward models: whether a step of a solution is right, for every step."""

from __future__ import annotations

from typing import Annotated, Literal

from tunekit.derive import Policy, Scope
from tunekit.label import Label
from tunekit.methods.evaluated import Evaluated, evals_of, own_eval_data
from tunekit.methods.judging import check_start, judge_of
from tunekit.methods.spec import data_fields, items_of, run_action, start_of, tokens_of
from tunekit.spec import semantic

__all__ = ["Prm", "derive", "policy"]


class Prm(Evaluated, frozen=True, kw_only=True):
    """Cross-entropy of right or wrong at the last token of each step of `stepwise` rows (Lightman et al. 2023,
    arXiv:2305.20050), by a new head on a language model. Not without labels of steps (`reward` needs only pairs of
    answers), nor where only the result counts and a program can check it."""

    method: Annotated[Literal["prm"], semantic("This method.")] = "prm"
    learning_rate: Annotated[float, semantic("Peak learning rate.", gt=0)] = 1e-5
    sequence_len: Annotated[int, semantic("Longest row, in tokens.", ge=8)] = 1024
    overlong: Annotated[
        Literal["error", "drop", "keep_start"],
        semantic("Rows longer than sequence_len: fail, leave them out, or keep the steps that fit (in the ledger)."),
    ] = "error"
    train_on_last_step_only: Annotated[bool, semantic("Only a row's last step carries a label.")] = False

    def checks(self) -> list[tuple[str, str, str]]:
        return super().checks() + own_eval_data(self)


def derive(label: Label, spec: Prm, scope: Scope) -> None:
    items, evals = items_of(spec), evals_of(spec)
    inputs, adapter, tokenizer = start_of(label, spec, scope)
    check_start(spec, inputs, scope)
    inputs["tokens"] = [tokens_of(label, items + evals, tokenizer, "data", scope, ("steps",))]
    fields = {"data": data_fields(items), "eval_data": data_fields(evals)}
    scope.add(run_action(label, spec, inputs, adapter, drop=("eval_data",), fields=fields))


def policy(label: Label, spec: Prm, scope: Scope) -> Policy:
    return judge_of(label, spec, scope, "whether each step is right")
