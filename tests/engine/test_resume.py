"""Which checkpoints count, and which figures belong to a history."""

import sys
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

sys.path.insert(0, str(Path(__file__).parent))
import tiny_stack as tiny

from tunekit.engine.arguments import batch_of, save_steps
from tunekit.engine.callbacks import figures_of, metrics_of
from tunekit.engine.resume import find_checkpoint, is_complete, mark_complete, train_dir
from tunekit.errors import ActionError
from tunekit.methods.sft.spec import Sft

pytestmark = pytest.mark.torch
SETTINGS = {"micro_batch_size": 4}


def checkpoint(staging: Path, step: int, complete: bool = True) -> Path:
    path = train_dir(str(staging)) / f"checkpoint-{step}"
    (path / "sub").mkdir(parents=True)
    (path / "model.safetensors").write_bytes(b"12345678")
    (path / "sub" / "optimizer.pt").write_bytes(b"1234")
    if complete:
        mark_complete(path)
    return path


def test_newest_complete_checkpoint(tmp_path: Path) -> None:
    """By number, not by name or time; those without a marker or with a torn file are gone."""
    events = tiny.Recorder()
    assert find_checkpoint(str(tmp_path), SETTINGS, events) is None
    ten, nine = checkpoint(tmp_path, 10), checkpoint(tmp_path, 9)
    unmarked, torn = checkpoint(tmp_path, 11, complete=False), checkpoint(tmp_path, 12)
    (torn / "sub" / "optimizer.pt").write_bytes(b"12")
    assert not is_complete(torn)
    assert find_checkpoint(str(tmp_path), SETTINGS, events) == ten
    assert nine.exists() and not unmarked.exists() and not torn.exists() and events.seen == []


def test_other_settings_discard_staging(tmp_path: Path) -> None:
    events = tiny.Recorder()
    find_checkpoint(str(tmp_path), SETTINGS, events)
    old = checkpoint(tmp_path, 3)
    assert find_checkpoint(str(tmp_path), {"micro_batch_size": 2}, events) is None and not old.exists()
    assert "micro_batch_size: 4 -> 2" in events.of("warning")[0]["message"]
    assert find_checkpoint(str(tmp_path), {"micro_batch_size": 2}, events) is None
    assert len(events.of("warning")) == 1


def test_times_are_not_metrics() -> None:
    entry = {
        "loss": 1.5,
        "epoch": 0.1,
        "step": 3,
        "train_runtime": 9.0,
        "eval_samples_per_second": 3.0,
        "nan": float("nan"),
    }
    assert figures_of(entry) == {"loss": 1.5}
    state: Any = SimpleNamespace(
        log_history=[entry, {"train_loss": 1.0, "step": 3}, {"eval_loss": 2, "a": 1, "step": 4}]
    )
    assert metrics_of(state, drop=("a",)) == [{"step": 3, "loss": 1.5}, {"step": 4, "eval_loss": 2.0}]


def test_batch_arithmetic(monkeypatch: pytest.MonkeyPatch) -> None:
    def spec(**more: Any) -> Sft:
        return Sft(model="model:m", data=["dataset:a"], batch_size=24, **more)

    assert batch_of(spec()) == (24, 24, 1, 1)
    monkeypatch.setenv("WORLD_SIZE", "2")
    assert batch_of(spec()) == (24, 12, 1, 2)
    assert batch_of(spec(micro_batch_size=3)) == (24, 3, 4, 2)
    with pytest.raises(ActionError, match="24 is not a multiple of micro_batch_size 8 x 2 devices"):
        batch_of(spec(micro_batch_size=8))
    assert save_steps(spec(checkpoint_steps=50, logging_steps=20)) == 60
