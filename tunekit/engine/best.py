"""The weights of the lowest evaluation loss, kept beside the checkpoints so that a kill does not lose them."""

from __future__ import annotations

import json
import math
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

from transformers import TrainerCallback, TrainerControl, TrainerState, TrainingArguments

from tunekit.engine.resume import MARKER, is_complete, mark_complete, step_of


class Best(NamedTuple):
    step: int
    loss: float
    path: Path


class BestKeeper(TrainerCallback):
    """Saves `best-<step>` at every new minimum of `eval_loss`; the first of equal ones stays.

    A resumed run forgets the bests after its checkpoint, since it comes by them again, and keeps what was best at
    the checkpoint: so an older best is removed only once the older of the two checkpoints has passed the newer.
    """

    def __init__(self, directory: Path, save: Callable[[Path], None]) -> None:
        self._directory = directory
        self._save = save
        self.best: Best | None = None

    def on_train_begin(
        self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **kwargs: Any
    ) -> None:
        for path in self._directory.glob("best-*"):
            if step_of(path) > state.global_step or not is_complete(path):
                shutil.rmtree(path)
        self.best = max(self._found(), key=lambda b: b.step, default=None)

    def on_evaluate(
        self,
        args: TrainingArguments,
        state: TrainerState,
        control: TrainerControl,
        metrics: dict[str, float] | None = None,
        **kwargs: Any,
    ) -> None:
        loss = (metrics or {})["eval_loss"]
        if not state.is_world_process_zero or not loss < (self.best.loss if self.best else math.inf):
            return
        path = self._directory / f"best-{state.global_step}"
        path.mkdir(parents=True)
        self._save(path)
        mark_complete(path, loss=loss)
        self.best = Best(state.global_step, loss, path)

    def on_save(self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **kwargs: Any) -> None:
        """After a checkpoint: drop the bests that no checkpoint can come back to."""
        oldest = min((step_of(p) for p in self._directory.glob("checkpoint-*")), default=0)
        passed = sorted((b for b in self._found() if b.step <= oldest), key=lambda b: b.step)
        for best in passed[:-1]:
            shutil.rmtree(best.path)

    def _found(self) -> list[Best]:
        return [
            Best(step_of(p), json.loads((p / MARKER).read_text())["loss"], p) for p in self._directory.glob("best-*")
        ]


def copy_weights(source: Path, target: Path) -> None:
    """A kept best as an artifact (copied, not moved: a kill before it is published must find it again)."""
    shutil.copytree(source, target, ignore=shutil.ignore_patterns(MARKER))
