"""The kept state of a shorter run that a run may go on from (docs/training.md)."""

from __future__ import annotations

from typing import Any

from tunekit.plan.planner import Node, Planner
from tunekit.protocol import Input

ROLE = "state"
_LENGTH = ("epochs", "max_steps")


def kept_state(planner: Planner, node: Node) -> Input | None:
    """The state that the label's last result left, if that was the same run with fewer steps: a preimage that differs
    in `max_steps` or `epochs` only, and is shorter in it."""
    action = node.action
    if not action.operational.get("keep_state") or action.label in planner.forced or not node.image:
        return None
    record = planner.previous(action.label)
    digest = record["outputs"].get(ROLE) if record else None
    if record is None or digest is None or not planner.presence.present(digest):
        return None
    if not is_shorter(record["preimage"], node.image):
        return None
    return Input(str(planner.store.view(digest)), digest, ROLE, f"{action.label}@{ROLE}")


def is_shorter(old: dict[str, Any], new: dict[str, Any]) -> bool:
    """Whether `old` is the preimage of the same run, ended earlier."""
    then, now = (image["fields"] for image in (old, new))
    if {**old, "fields": _rest(then)} != {**new, "fields": _rest(now)}:
        return False
    steps, epochs = ([fields.get(name) for fields in (then, now)] for name in ("max_steps", "epochs"))
    if None not in steps:
        return epochs[0] == epochs[1] and steps[0] < steps[1]
    if steps == [None, None]:
        return (epochs[0] or 1.0) < (epochs[1] or 1.0)  # the default is left out of a key
    return False  # which is longer, only the data can tell


def _rest(fields: dict[str, Any]) -> dict[str, Any]:
    return {name: value for name, value in fields.items() if name not in _LENGTH}
