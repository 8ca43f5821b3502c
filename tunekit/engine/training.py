"""Run a trainer of TRL or Transformers to its end, from wherever staging stands; or end it right there."""

from __future__ import annotations

import math
import statistics
from pathlib import Path
from typing import Any

from transformers import TrainerCallback, TrainerControl, TrainerState, TrainingArguments

from tunekit.engine import trackers
from tunekit.engine.arguments import accumulated
from tunekit.engine.callbacks import Reporter, metrics_of, peak_memory
from tunekit.engine.effective import check_took_effect, dtypes_of, numeric_settings
from tunekit.engine.extension import StateKeeper, adopt_state, is_last, keep_state
from tunekit.engine.health import HealthWatch
from tunekit.engine.loading import Loaded, keep_precision
from tunekit.engine.optimizers import Maker, settle
from tunekit.engine.parallel import StrategyCheck, from_main, is_main
from tunekit.engine.patience import Patience
from tunekit.engine.profile import Profiler
from tunekit.engine.resume import CheckpointMarker, find_checkpoint, last_checkpoint, step_of
from tunekit.engine.scaling import settle_scaling
from tunekit.errors import ActionError
from tunekit.health import OWN
from tunekit.methods.evaluated import Evaluated
from tunekit.methods.spec import Run
from tunekit.protocol import Events, Request

_TOLD = 10  # step times that a record has one by one


def train(
    trainer: Any, spec: Run, loaded: Loaded, request: Request, events: Events, drop: tuple[str, ...] = ()
) -> list[dict[str, float]]:
    """Train to the last step, continuing the newest whole checkpoint in staging; returns the metrics history.
    A request to `finish` takes no step: model and trainer are then what they were at that checkpoint.

    `drop`: logged figures that restart with the process and so do not belong into the history.
    Raises GateError `unhealthy`, and ActionError: `setting-without-effect`, `nothing-to-train`, `diverged`,
    `out-of-memory`, `no-checkpoint`.
    """
    check_took_effect(spec, loaded, trainer.args)
    if keep_precision(loaded):
        events.effective(dtype=dtypes_of(loaded.model))
    reporter = Reporter(events, drop, OWN.get(spec.method, ()))
    watch = _watched(trainer, spec, loaded, request, events, reporter)
    maker = Maker(spec, trainer, events)
    trainer.optimizer_cls_and_kwargs = (lambda: maker, {})  # a factory, which it calls with the model
    events.effective(loss_divided=settle_scaling(trainer))
    import torch

    try:
        if request.finish:
            _finish(trainer, spec, request, events)
        else:
            checkpoint = _checkpoint(spec, loaded, request, events)
            events.effective(resumed_from_step=step_of(checkpoint) if checkpoint else 0)
            if checkpoint and is_last(checkpoint):
                _bring_to(trainer, checkpoint)
            else:
                trainer.train(resume_from_checkpoint=str(checkpoint) if checkpoint else None)
            if isinstance(spec, Evaluated) and spec.keep_state:
                keep_state(request, numeric_settings(spec, loaded), trainer.state.global_step)
    except torch.OutOfMemoryError as e:
        raise ActionError(
            f"the device is out of memory: {e}",
            slug="out-of-memory",
            hint="lower micro_batch_size (the result's meaning stays) or set gradient_checkpointing = true",
        ) from e
    finally:
        trackers.close(spec)
    settle(spec, trainer)
    events.effective(health=watch.monitor.receipts(), peak_memory=peak_memory(), pace=_pace(reporter.seconds))
    events.flush()  # who only measures ends it here
    history = metrics_of(trainer.state, drop)
    last = [entry["loss"] for entry in trainer.state.log_history if "loss" in entry][-1:]
    if not last or not math.isfinite(last[0]):
        raise ActionError(
            f"the loss is {last[0] if last else 'missing'} at the end of training",
            slug="diverged",
            hint="lower learning_rate or max_grad_norm, or look at the data",
        )
    return history


def _checkpoint(spec: Run, loaded: Loaded, request: Request, events: Events) -> Path | None:
    """Of staging, or the kept state of a shorter run. Looked for by the main process alone, since it removes what is
    broken."""
    if not is_main():
        return from_main(None)
    settings = numeric_settings(spec, loaded)
    return from_main(find_checkpoint(request.staging, settings, events) or adopt_state(request, settings, events))


def _pace(seconds: list[float]) -> dict[str, Any]:
    """Of the newest steps: how long each took. A figure of this machine and this hour."""
    return {"seconds": seconds[:_TOLD], "median": statistics.median(seconds) if seconds else None}


def _watched(
    trainer: Any, spec: Run, loaded: Loaded, request: Request, events: Events, reporter: Reporter
) -> HealthWatch:
    """A trainer that reports, marks its checkpoints, minds its health, and is profiled where that was asked for."""
    trainer.add_callback(reporter)
    trainer.add_callback(CheckpointMarker())
    trainer.add_callback(StrategyCheck(trainer, spec, events))
    if isinstance(spec, Evaluated) and spec.patience:
        trainer.add_callback(Patience(spec.patience, spec.min_delta, events))
    if isinstance(spec, Evaluated) and spec.keep_state:
        trainer.add_callback(StateKeeper(spec))
    vocabulary = int(getattr(loaded.base.config.get_text_config(), "vocab_size", 0) or 0)
    watch = HealthWatch(events, spec.method, spec.health, vocabulary)
    if not request.finish:  # then no step is taken, and what there is shall be kept
        trainer.add_callback(watch)
        watch.look_into(trainer.model)
    if spec.profile and not request.finish and is_main():
        folder = Path(request.watch or request.staging) / "profile"
        trainer.add_callback(Profiler(spec.profile, folder, events))
    return watch


def _finish(trainer: Any, spec: Run, request: Request, events: Events) -> None:
    """Bring a trainer to where its last checkpoint stands, as if that step had been its last one."""
    found = last_checkpoint(request.staging)
    if found is None:
        raise ActionError(
            "there is no whole checkpoint to finish from",
            slug="no-checkpoint",
            hint="train it without --finish; every `checkpoint_steps` steps it leaves a checkpoint",
        )
    checkpoint, settings = found
    _bring_to(trainer, checkpoint)
    if trainer.args.eval_strategy != "no" and not _evaluated(trainer.state):
        trainer.evaluate()  # as after a last step: `best` may need it, and the loss at the end is told
    batch = accumulated(spec, settings["micro_batch_size"], settings["world_size"])
    events.effective(
        **settings,  # those that took effect when its steps were taken
        batch=batch._asdict(),
        resumed_from_step=trainer.state.global_step,
        finished_early={"step": trainer.state.global_step, "of": trainer.state.max_steps},
    )


def _bring_to(trainer: Any, checkpoint: Path) -> None:
    """Everything as it was at a checkpoint, and no step."""
    trainer.add_callback(_Stop())
    try:
        trainer.train(resume_from_checkpoint=str(checkpoint))
        raise AssertionError("a step was taken")
    except _Finished:
        pass


def _evaluated(state: TrainerState) -> bool:
    """Whether the evaluation of the step it stands at is in the history."""
    return any(e["step"] == state.global_step and "eval_loss" in e for e in state.log_history)


class _Finished(Exception):
    """Not an error: everything is loaded, and no step shall follow."""


class _Stop(TrainerCallback):
    """Leaves `train()` when weights and state of the checkpoint are there and all other callbacks know of it: the
    last moment before a step that a documented seam of the trainer offers."""

    def on_train_begin(
        self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **kwargs: Any
    ) -> None:
        raise _Finished
