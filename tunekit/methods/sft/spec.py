"""Supervised fine-tuning: the next-token loss on labelled tokens.

On `completion` rows with full weights: pretraining.
"""

from __future__ import annotations

from typing import Annotated, Literal

from tunekit.derive import Scope
from tunekit.label import Label
from tunekit.methods.spec import DataItem, Run, data_fields, items_of, policy, run_action, start_of, tokens_of
from tunekit.spec import PositiveInt, numeric, semantic

__all__ = ["Sft", "derive", "policy"]


class Sft(Run, frozen=True, kw_only=True):
    """Cross-entropy on the labelled tokens of `chat` or `completion` rows; trained by TRL's SFTTrainer."""

    method: Annotated[Literal["sft"], semantic("This method.")] = "sft"
    sequence_len: Annotated[int, semantic("Longest sequence, in tokens.", ge=8)] = 1024
    overlong: Annotated[
        Literal["error", "split", "truncate", "drop"],
        semantic("Rows longer than sequence_len: fail, or what is done with them (counted in the ledger)."),
    ] = "error"
    packing: Annotated[
        bool,
        semantic("Fill sequences of sequence_len with whole rows that do not see each other; batch_size counts these."),
    ] = False
    padding_free: Annotated[
        bool, numeric("The rows of a forward pass as one sequence without padding; they do not see each other.")
    ] = False
    group_by_length: Annotated[bool, semantic("Rows of about one length in a step, so that padding is short.")] = False
    eval_data: Annotated[list[str | DataItem], semantic("Datasets for the evaluation loss.")] = []
    eval_steps: Annotated[PositiveInt | None, semantic("Steps between evaluations; default: at the end.")] = None
    keep: Annotated[Literal["last", "best"], semantic("Which weights `run:x` names (both are stored).")] = "last"

    def checks(self) -> list[tuple[str, str, str]]:
        out = super().checks()
        if self.keep == "best" and not self.eval_data:
            out.append(("keep", '`keep = "best"` needs `eval_data`', "add a dataset to choose the best weights by"))
        ways = {"packing": self.packing, "padding_free": self.padding_free, "group_by_length": self.group_by_length}
        if len(taken := [name for name, on in ways.items() if on]) > 1:
            message = f"`{'` and `'.join(taken)}` are ways to the same end: take one"
            out.append((taken[1], message, "packing leaves the least padding; group_by_length works with every model"))
        return out


def derive(label: Label, spec: Sft, scope: Scope) -> None:
    items = items_of(spec)
    evals = [DataItem(dataset=i) if isinstance(i, str) else i for i in spec.eval_data]
    inputs, adapter, tokenizer = start_of(label, spec, scope)
    inputs["tokens"] = [tokens_of(label, items + evals, tokenizer, "data", scope)]
    fields = {"data": data_fields(items), "eval_data": data_fields(evals)}
    scope.add(run_action(label, spec, inputs, adapter, drop=("eval_data",), fields=fields))
