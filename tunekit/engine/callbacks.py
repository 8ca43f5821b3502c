"""What a training run says while it runs, and where it may be stopped.

The metrics history is Transformers' own `log_history`, which every checkpoint carries: a resumed run first
repeats the history up to its checkpoint, so that the events of the last process are always the whole history,
equal to that of an uninterrupted run. Times are progress, never metrics.
"""

from __future__ import annotations

import math
import resource
import sys
import time
from typing import Any

import torch
from transformers import TrainerCallback, TrainerControl, TrainerState, TrainingArguments

from tunekit.protocol import Events

# Figures that depend on the clock or restart with the process.
_TIMES = ("runtime", "_per_second", "step_time", "profiling/", "total_flos", "preparation_time")

_NEWEST = 99  # steps whose times are kept


def figures_of(entry: dict[str, Any], drop: tuple[str, ...] = ()) -> dict[str, float]:
    """The metrics among one entry of a log history: finite numbers, without times and bookkeeping."""
    skipped = {"step", "epoch", "train_loss", *drop}
    return {
        name: float(value)
        for name, value in entry.items()
        if name not in skipped
        and isinstance(value, (int, float))
        and math.isfinite(value)
        and not any(t in name for t in _TIMES)
    }


def metrics_of(state: TrainerState, drop: tuple[str, ...] = ()) -> list[dict[str, float]]:
    """The metrics history so far: one dict per logged entry, with `step`."""
    found = ((entry["step"], figures_of(entry, drop)) for entry in state.log_history if "train_loss" not in entry)
    return [{"step": step, **figures} for step, figures in found if figures]


class Reporter(TrainerCallback):
    """Training → events. `drop`: figures of the trainer that do not survive a resume; `own`: those of the method that
    go with the progress, beside loss, gradient norm and learning rate."""

    def __init__(self, events: Events, drop: tuple[str, ...] = (), own: tuple[str, ...] = ("reward",)) -> None:
        self._events = events
        self._drop = drop
        self._shown = ("loss", "eval_loss", *own, "grad_norm", "learning_rate")
        self._latest: dict[str, float] = {}
        self._supervised = 0
        self._clock = (0.0, 0)  # (seconds, tokens seen) at the last step
        self.seconds: list[float] = []  # that each of the newest steps took, with all that is between two steps

    def on_train_begin(
        self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **kwargs: Any
    ) -> None:
        self._clock = (time.monotonic(), int(state.num_input_tokens_seen))
        for point in metrics_of(state, self._drop):
            self._emit(int(point.pop("step")), point)

    def on_log(
        self,
        args: TrainingArguments,
        state: TrainerState,
        control: TrainerControl,
        logs: dict[str, Any] | None = None,
        **kwargs: Any,
    ) -> None:
        if logs and "train_loss" not in logs:
            self._emit(state.global_step, figures_of(logs, self._drop))

    def on_step_end(self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **kwargs: Any) -> None:
        if state.global_step >= state.max_steps:
            # The last step is in the history whatever logging_steps is. Its weights are about to be saved as the
            # artifact; a checkpoint there would be one that cannot be trained on from.
            control.should_log = True
            control.should_save = False
        now, seen = time.monotonic(), int(state.num_input_tokens_seen)
        before, tokens = self._clock
        speed = {"tokens_per_s": round((seen - tokens) / max(now - before, 1e-6), 1)} if seen > tokens else {}
        self._clock = (now, seen)
        self.seconds = [*self.seconds[-_NEWEST:], round(now - before, 6)]
        labelled = {"supervised_tokens": self._supervised} if self._supervised else {}
        figures = {name: self._latest[name] for name in self._shown if name in self._latest}
        self._events.progress(
            state.global_step, state.max_steps, "step", **figures, **speed, **labelled, memory=peak_memory()
        )

    def _emit(self, step: int, figures: dict[str, float]) -> None:
        if figures:
            self._events.metric(step, **figures)
            self._latest |= figures
            self._supervised += int(figures.get("supervised_tokens", 0))


def peak_memory() -> int:
    """Bytes at the worst moment so far: of the device, or of this process (its resident set) where there is none."""
    if torch.cuda.is_available():
        return int(torch.cuda.max_memory_allocated())
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * (1 if sys.platform == "darwin" else 1024)
