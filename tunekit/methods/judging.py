"""What methods share whose result judges texts instead of writing them: reward and prm."""

from __future__ import annotations

from tunekit.derive import Edge, Policy, Scope
from tunekit.label import Label
from tunekit.methods.spec import Run, policy


def judge_of(label: Label, spec: Run, scope: Scope, what: str) -> Policy:
    """The run's result, which says `what` of a text."""
    return policy(label, spec, scope)._replace(judges=what)


def check_start(spec: Run, inputs: dict[str, list[Edge]], scope: Scope) -> None:
    """A new head cannot be stored in an adapter that was made without one."""
    if "adapter" in inputs:
        hint = 'declare an `adapter` of its own (the other is merged first), or `model = "merge:…"` for full weights'
        scope.problem("no-head", "model", f"{spec.model} is an adapter, which has no room for a new head", hint)
