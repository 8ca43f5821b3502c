"""A run that goes on: its trainer's state as an output (`keep_state`), and a longer run that begins with it.

The state is the checkpoint that the longer run, had it been straight, would have left at that step. So the last step
must be one at which it logs and evaluates anyway, and nothing may depend on how many steps there are.
"""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import Any

from transformers import TrainerCallback, TrainerControl, TrainerState, TrainingArguments

from tunekit.engine.parallel import is_main
from tunekit.engine.resume import (
    MARKER,
    SETTINGS,
    is_complete,
    mark_complete,
    read_json,
    step_of,
    train_dir,
    write_durably,
)
from tunekit.errors import ActionError
from tunekit.methods.evaluated import Evaluated
from tunekit.protocol import Events, Request

_LEFT_OUT = shutil.ignore_patterns(MARKER, "training_args.bin", "README.md")


class StateKeeper(TrainerCallback):
    """Leaves a checkpoint at the last step. ActionError `state-off-interval` before the first one where that step is
    none at which the longer run would log and evaluate."""

    def __init__(self, spec: Evaluated) -> None:
        self._spec = spec

    def on_train_begin(
        self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **kwargs: Any
    ) -> None:
        intervals = {"logging_steps": self._spec.logging_steps, "eval_steps": self._spec.eval_steps}
        for name, interval in intervals.items():
            if interval and state.max_steps % interval:
                raise ActionError(
                    f"keep_state: the last step is {state.max_steps}, which is no multiple of {name} {interval}",
                    slug="state-off-interval",
                    hint="a longer run would not log or evaluate there, so it could not go on from it",
                )

    def on_step_end(self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **kwargs: Any) -> None:
        if state.global_step >= state.max_steps:
            control.should_save = True


def keep_state(request: Request, settings: dict[str, Any], steps: int) -> None:
    """Copy the checkpoint of the last step, and the best weights up to there, to the output `state`. A run that was
    stopped before has none: a longer one would stop at the same step."""
    root, out = train_dir(request.staging), Path(request.out) / "state"
    checkpoint = root / f"checkpoint-{steps}"
    if not checkpoint.is_dir() or not is_main():
        return
    shutil.copytree(checkpoint, out / checkpoint.name, ignore=_LEFT_OUT)
    for best in root.glob("best-*"):
        shutil.copytree(best, out / best.name)  # with its marker, which has its loss
    write_durably(out / SETTINGS, settings)


def adopt_state(request: Request, settings: dict[str, Any], events: Events) -> Path | None:
    """Begin staging with the state of a shorter run, where the request has one; its checkpoint.

    Under other numeric settings it is left alone (warning `state-not-continued`): bits are never mixed.
    """
    given = request.maybe("state")
    if given is None:
        return None
    source, root = Path(given.path), train_dir(request.staging)
    before = read_json(source / SETTINGS) or {}
    if before != settings:
        changed = sorted(k for k in before.keys() | settings.keys() if before.get(k) != settings.get(k))
        said = ", ".join(f"{k}: {before.get(k)} -> {settings.get(k)}" for k in changed)
        events.warning("state-not-continued", f"trained from its beginning: {said}", fields=changed)
        return None
    (checkpoint,) = source.glob("checkpoint-*")
    for best in source.glob("best-*"):
        _copy(best, root / best.name)
    target = _copy(checkpoint, root / checkpoint.name)
    mark_complete(target)
    events.effective(extended={"from_step": step_of(target), "of": given.label})
    return target


def _copy(source: Path, target: Path) -> Path:
    """A copy that may be written to and removed: what lies in the store is read-only."""
    if target.exists():
        shutil.rmtree(target)
    shutil.copytree(source, target, copy_function=shutil.copyfile)
    return target


def is_last(checkpoint: Path) -> bool:
    """Whether a checkpoint is that of the last step (of `StateKeeper`): no step may follow it."""
    return is_complete(checkpoint) and bool((read_json(checkpoint / MARKER) or {}).get("last"))
