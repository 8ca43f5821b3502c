"""Early stopping: after `patience` evaluations that bring nothing."""

from __future__ import annotations

import math
from typing import Any

from transformers import TrainerCallback, TrainerControl, TrainerState, TrainingArguments

from tunekit.protocol import Events

FIGURE = "eval_loss"


def stalled(losses: list[float], min_delta: float) -> int:
    """How many evaluations ago the loss was last lower than all before it by more than `min_delta`; a loss that is
    not finite is no improvement."""
    best, since = math.inf, 0
    for loss in losses:
        better = loss < best - min_delta
        best, since = (loss, 0) if better else (best, since + 1)
    return since


class Patience(TrainerCallback):
    """Ends training. What it counts is in the log history, which every checkpoint has: nothing else to resume."""

    def __init__(self, patience: int, min_delta: float, events: Events) -> None:
        self._patience = patience
        self._min_delta = min_delta
        self._events = events

    def on_step_end(self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **kwargs: Any) -> None:
        if args.eval_steps and state.global_step % int(args.eval_steps) == 0:
            control.should_log = True  # it may end here: then the history must have its last steps

    def on_evaluate(self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **kwargs: Any) -> None:
        losses = [entry[FIGURE] for entry in state.log_history if FIGURE in entry]
        if stalled(losses, self._min_delta) < self._patience or state.global_step >= state.max_steps:
            return
        control.should_training_stop = True
        control.should_save = False  # a checkpoint here would be trained on from
        self._events.effective(stopped_early={"step": state.global_step, "of": state.max_steps, FIGURE: losses[-1]})
