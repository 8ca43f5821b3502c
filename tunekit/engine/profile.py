"""Chosen steps of a run, operator by operator: a Chrome trace, a table of the operators that took longest, and, on a
GPU, a snapshot of its memory. Files go to the project's `.tunekit/watch`; the table to the log and into the record."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import torch
from torch.profiler import ProfilerAction, ProfilerActivity, profile
from transformers import TrainerCallback, TrainerControl, TrainerState, TrainingArguments

from tunekit.methods.spec import Profile
from tunekit.protocol import Events

_TOP = 20  # operators of the table
_HISTORY = 100_000  # allocations that a memory snapshot reaches back


class Profiler(TrainerCallback):
    """Profiles the steps that are taken of those that were chosen. Steps count from 1, as in the metrics history."""

    def __init__(self, chosen: Profile, folder: Path, events: Events) -> None:
        self._chosen = set(chosen.chosen())
        self._folder = folder
        self._events = events
        self._profile: Any = None
        self._first = 0  # the first step that this process takes
        self._row: list[int] = []  # steps recorded since the last file
        self._done: list[int] = []
        self._files: list[str] = []

    def on_train_begin(
        self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **kwargs: Any
    ) -> None:
        self._first = state.global_step + 1
        if not {step for step in self._chosen if self._first <= step <= state.max_steps}:
            said = ", ".join(map(str, sorted(self._chosen)[:5]))
            self._events.warning(
                "nothing-profiled",
                f"steps {said} are not among those that are taken ({self._first} to {state.max_steps})",
            )
            return
        self._folder.mkdir(parents=True, exist_ok=True)
        activities = [ProfilerActivity.CPU] + ([ProfilerActivity.CUDA] if torch.cuda.is_available() else [])
        self._profile = profile(
            activities=activities, schedule=self._plan, on_trace_ready=self._take, record_shapes=True,
            profile_memory=True, acc_events=True,
        )  # fmt: skip
        if torch.cuda.is_available():
            torch.cuda.memory._record_memory_history(max_entries=_HISTORY)
        self._profile.start()

    def _plan(self, index: int) -> ProfilerAction:
        """What is done with the step that this process takes as its `index`-th (from 0)."""
        step = self._first + index
        if step not in self._chosen:
            return ProfilerAction.NONE
        return ProfilerAction.RECORD if step + 1 in self._chosen else ProfilerAction.RECORD_AND_SAVE

    def on_step_end(self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **kwargs: Any) -> None:
        if self._profile is None:
            return
        if state.global_step in self._chosen:
            self._row.append(state.global_step)
        self._profile.step()
        if state.global_step >= max(self._chosen):
            self._end()

    def on_train_end(
        self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **kwargs: Any
    ) -> None:
        self._end()

    def _take(self, found: Any) -> None:
        """One row of consecutive steps has been recorded."""
        file = self._folder / f"trace-{self._row[0]}-{self._row[-1]}.json"
        found.export_chrome_trace(str(file))
        self._files.append(file.name)
        self._done += self._row
        self._row.clear()

    def _end(self) -> None:
        if self._profile is None:
            return
        found, self._profile = self._profile, None
        found.stop()
        if torch.cuda.is_available():
            torch.cuda.memory._dump_snapshot(str(self._folder / "memory.pickle"))
            torch.cuda.memory._record_memory_history(enabled=None)
            self._files.append("memory.pickle")
        events = {e.key: (e.count, e.self_cpu_time_total, e.self_device_time_total) for e in found.key_averages()}
        by_time = sorted(events.items(), key=lambda item: -(item[1][2] or item[1][1]))
        top = [
            {"operator": name, "calls": int(calls), "cpu_ms": round(cpu / 1e3, 3), "device_ms": round(device / 1e3, 3)}
            for name, (calls, cpu, device) in by_time[:_TOP]
        ]
        self._events.effective(profile={"steps": self._done, "files": self._files, "top": top})
        print(f"profile of steps {self._done}: {self._folder}")
        for line in top:
            print("  {operator:<50.50} {calls:>8} calls {cpu_ms:>12} ms cpu {device_ms:>12} ms device".format(**line))
        print(end="", flush=True)
