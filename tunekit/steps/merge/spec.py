"""A merge: one set of weights out of several. In this version: an adapter into its base."""

from __future__ import annotations

from typing import Annotated, Literal

from tunekit.derive import Action, Edge, Policy, Scope, action_of
from tunekit.label import Label
from tunekit.spec import PRIVATE, Spec, operational, semantic


class Merge(Spec, frozen=True, kw_only=True):
    """`lora`: base weight + (alpha / r) · B·A for every adapted module; the base is found by provenance."""

    method: Annotated[Literal["lora"], semantic("How inputs are combined.")] = "lora"
    inputs: Annotated[list[str], semantic("The run whose adapter is merged.", min_length=1, max_length=1)]
    dtype: Annotated[Literal["base", "float32", "bfloat16", "float16"], semantic("Stored weights.")] = "base"
    simulate_nf4: Annotated[
        bool | None,
        semantic("Send the base's weights through NF4 and back first; default: where the adapter was trained so."),
    ] = None
    gates: Annotated[dict[str, str], operational("Bounds on the receipt, e.g. `max_logit_difference`.")] = {}
    private: Annotated[bool | None, operational(PRIVATE)] = None


def derive(label: Label, spec: Merge, scope: Scope) -> None:
    found = scope.policy(spec.inputs[0], "inputs", kinds=("run",))
    if not found.base.action:
        return  # the label did not resolve: said already
    if found.adapter is None:
        scope.problem(
            "nothing-to-merge",
            "inputs",
            f"{spec.inputs[0]} has no adapter: its weights are full already",
            f'use "{spec.inputs[0]}" itself where a model is wanted',
        )
        return
    scope.add(merge_action(label, spec, found))


def merge_action(label: Label, spec: Merge, found: Policy) -> Action:
    assert found.adapter is not None
    return action_of(
        label,
        "merge",
        spec,
        drop=("inputs",),
        inputs={"base": [found.base], "adapter": [found.adapter]},
        gates=dict(spec.gates),
    )


def policy(label: Label, spec: Merge, scope: Scope) -> Policy:
    return Policy(Edge(str(label)), scope.policy(spec.inputs[0], "inputs", kinds=("run",)).tokenizer)
