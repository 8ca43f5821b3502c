"""Ending a run early (`build --finish`): which keys that means, why a run cannot be ended, and how a record says so.

The worker does it: its request says `finish`, so that it takes no further step and makes the result of its last
checkpoint. The result is an attempt of the run's own key; one that was trained in full takes its place.
"""

from __future__ import annotations

from typing import Any

from tunekit.errors import ActionError, UsageError
from tunekit.plan.planner import FRESH, Planner
from tunekit.store import leases


def early(record: dict[str, Any]) -> str:
    """`finished early at step 8 of 60`, or nothing for a run that went to its end."""
    found = record.get("effective", {}).get("finished_early")
    return f"finished early at step {found['step']} of {found['of']}" if found else ""


def key_to_finish(planner: Planner, label: str) -> str:
    """The key of a planned run that may be ended now; empty if it is built already.

    Raises UsageError `cannot-finish`, and ActionError `in-use`, `no-checkpoint`. Whether what lies in staging is a
    whole checkpoint is for the worker to say, by the same slug.
    """
    node = planner.nodes[label]
    if not node.action.kind.startswith("run."):
        message = f"{label} ({node.action.kind}) has no steps of training to stop at"
        raise UsageError(message, slug="cannot-finish", hint="--finish takes a run")
    if node.state == FRESH and node.present:
        return ""
    if node.key and leases.held(planner.store, node.key):
        hint = "press Ctrl-C there (its last checkpoint stays), then call this again"
        raise ActionError(f"another build is training {label} now", slug="in-use", hint=hint)
    if not node.key or not (planner.store.staging(node.key) / "work").is_dir():
        why = "; ".join(str(r) for r in node.reasons)
        message = f"{label} has no checkpoint to finish from" + (f" ({why})" if why else "")
        hint = f"`tunekit build {label}` trains it; every `checkpoint_steps` steps it leaves a checkpoint"
        raise ActionError(message, slug="no-checkpoint", hint=hint)
    return node.key
