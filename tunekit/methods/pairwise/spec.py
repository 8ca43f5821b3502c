"""What methods that learn from pairs without a reference policy share: orpo, simpo, reward."""

from __future__ import annotations

from typing import Annotated, Literal

from tunekit.derive import Edge, Scope
from tunekit.label import Label
from tunekit.methods.evaluated import Evaluated, evals_of
from tunekit.methods.spec import data_fields, items_of, run_action, start_of, tokens_of
from tunekit.spec import semantic


class PairRun(Evaluated, frozen=True, kw_only=True):
    """Rows of a prompt, a chosen and a rejected answer; a step is of `batch_size` pairs."""

    batch_size: Annotated[int, semantic("Pairs per optimizer step, over all devices.", ge=1)] = 16
    sequence_len: Annotated[int, semantic("Longest prompt with its answer, in tokens.", ge=8)] = 1024
    overlong: Annotated[
        Literal["error", "drop", "keep_start", "keep_end"],
        semantic(
            "Pairs longer than sequence_len: fail, leave them out, cut the end of the answers, or the beginning of the "
            "prompt (counted in the ledger)."
        ),
    ] = "error"


def derive(label: Label, spec: PairRun, scope: Scope) -> None:
    derive_inputs(label, spec, scope)


def derive_inputs(label: Label, spec: PairRun, scope: Scope) -> dict[str, list[Edge]]:
    """Adds the run's actions, and tells what it reads."""
    items, evals = items_of(spec), evals_of(spec)
    inputs, adapter, tokenizer = start_of(label, spec, scope)
    inputs["tokens"] = [tokens_of(label, items + evals, tokenizer, "data", scope, ("chosen", "rejected"))]
    fields = {"data": data_fields(items), "eval_data": data_fields(evals)}
    scope.add(run_action(label, spec, inputs, adapter, drop=("eval_data",), fields=fields))
    return inputs
