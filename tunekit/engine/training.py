"""Run a trainer of TRL or Transformers to its end, from wherever staging stands."""

from __future__ import annotations

import math
from typing import Any

from tunekit.engine.callbacks import Reporter, metrics_of
from tunekit.engine.effective import check_took_effect, numeric_settings
from tunekit.engine.loading import Loaded
from tunekit.engine.resume import CheckpointMarker, find_checkpoint, step_of
from tunekit.errors import ActionError
from tunekit.methods.spec import Run
from tunekit.protocol import Events, Request


def train(
    trainer: Any, spec: Run, loaded: Loaded, request: Request, events: Events, drop: tuple[str, ...] = ()
) -> list[dict[str, float]]:
    """Train to the last step, continuing the newest whole checkpoint in staging; returns the metrics history.

    `drop`: logged figures that restart with the process and so do not belong into the history.
    Raises ActionError: `setting-without-effect`, `nothing-to-train`, `diverged`, `out-of-memory`.
    """
    check_took_effect(spec, loaded, trainer.args)
    checkpoint = find_checkpoint(request.staging, numeric_settings(spec, loaded), events)
    trainer.add_callback(Reporter(events, drop))
    trainer.add_callback(CheckpointMarker())
    events.effective(resumed_from_step=step_of(checkpoint) if checkpoint else 0)
    import torch

    try:
        trainer.train(resume_from_checkpoint=str(checkpoint) if checkpoint else None)
    except torch.OutOfMemoryError as e:
        raise ActionError(
            f"the device is out of memory: {e}",
            slug="out-of-memory",
            hint="lower micro_batch_size (the result's meaning stays) or set gradient_checkpointing = true",
        ) from e
    history = metrics_of(trainer.state, drop)
    last = [entry["loss"] for entry in trainer.state.log_history if "loss" in entry][-1:]
    if not last or not math.isfinite(last[0]):
        raise ActionError(
            f"the loss is {last[0] if last else 'missing'} at the end of training",
            slug="diverged",
            hint="lower learning_rate or max_grad_norm, or look at the data",
        )
    return history
