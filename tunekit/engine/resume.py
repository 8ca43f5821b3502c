"""Staging checkpoints: which of them are whole, and whether this process may continue them.

A kill may come in the middle of a save. A checkpoint counts only with its marker, written after every file of it
is on the disk; `on_save` is the trainer's documented seam for it.
"""

from __future__ import annotations

import json
import os
import shutil
from pathlib import Path
from typing import Any

from transformers import TrainerCallback, TrainerControl, TrainerState, TrainingArguments

from tunekit.engine.parallel import barrier
from tunekit.protocol import Events

MARKER = "tunekit-complete.json"
_SETTINGS = "numeric-settings.json"


def train_dir(staging: str) -> Path:
    """Where a run's trainer keeps its checkpoints."""
    return Path(staging) / "train"


def find_checkpoint(staging: str, settings: dict[str, Any], events: Events) -> Path | None:
    """The newest whole checkpoint that was made under the same numeric settings, or None.

    Broken checkpoints are removed. Where the settings differ, everything is removed (`staging-discarded`): bits
    of two settings are never mixed in one result.
    """
    root = train_dir(staging)
    root.mkdir(parents=True, exist_ok=True)
    before = _read(root / _SETTINGS)
    if before is not None and before != settings:
        changed = sorted(k for k in before.keys() | settings.keys() if before.get(k) != settings.get(k))
        if any(root.glob("checkpoint-*")):
            said = ", ".join(f"{k}: {before.get(k)} -> {settings.get(k)}" for k in changed)
            events.warning("staging-discarded", f"started over, not resumed: {said}", fields=changed)
        shutil.rmtree(root)
        root.mkdir()
    write_durably(root / _SETTINGS, settings)
    return _newest(root)


def last_checkpoint(staging: str) -> tuple[Path, dict[str, Any]] | None:
    """The newest whole checkpoint and the numeric settings that it was made under, whatever they are now: for a run
    that is ended there, since no step is taken that could mix the bits of two settings."""
    root = train_dir(staging)
    newest, settings = _newest(root), _read(root / _SETTINGS)
    return (newest, settings) if newest and settings else None


def _newest(root: Path) -> Path | None:
    """The whole checkpoint of the highest step; broken ones are removed."""
    whole = []
    for path in root.glob("checkpoint-*"):
        if is_complete(path):
            whole.append(path)
        else:
            shutil.rmtree(path)
    return max(whole, key=step_of, default=None)


def step_of(checkpoint: Path) -> int:
    return int(checkpoint.name.rpartition("-")[2])


def is_complete(directory: Path) -> bool:
    """Whether the marker is there and every file has the size it had when the marker was written."""
    marker = _read(directory / MARKER)
    if marker is None:
        return False
    files = marker["files"]
    return all((directory / f).is_file() and (directory / f).stat().st_size == size for f, size in files.items())


def mark_complete(directory: Path, **data: Any) -> None:
    """Everything in `directory` to the disk, then the marker."""
    files = sorted(p for p in directory.rglob("*") if p.is_file() and p.name != MARKER)
    for path in files:
        _fsync(path)
    sizes = {str(p.relative_to(directory)): p.stat().st_size for p in files}
    write_durably(directory / MARKER, {"files": sizes, **data})
    _fsync(directory.parent)


def write_durably(path: Path, value: Any) -> None:
    """JSON that is there in full or not at all."""
    temporary = path.with_name(path.name + ".new")
    temporary.write_text(json.dumps(value, sort_keys=True))
    _fsync(temporary)
    os.replace(temporary, path)
    _fsync(path.parent)


def _read(path: Path) -> dict[str, Any] | None:
    try:
        found: dict[str, Any] = json.loads(path.read_text())
    except (FileNotFoundError, ValueError):
        return None
    return found


def _fsync(path: Path) -> None:
    fd = os.open(path, os.O_RDONLY)
    try:
        os.fsync(fd)
    finally:
        os.close(fd)


class CheckpointMarker(TrainerCallback):
    """Marks a checkpoint whole once the trainer has written all of it."""

    def on_save(self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **kwargs: Any) -> None:
        barrier()  # each process writes its own share of an optimizer that is split, and its random state
        if state.is_world_process_zero:
            mark_complete(Path(str(args.output_dir)) / f"checkpoint-{state.global_step}")
