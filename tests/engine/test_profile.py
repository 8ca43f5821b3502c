"""Profiles and trackers of real trainings on a tiny model: what they write, and that it is nowhere else."""

import importlib.util
import json
import sys
from pathlib import Path
from typing import Any

import pytest

sys.path.insert(0, str(Path(__file__).parent))
sys.path.insert(0, str(Path(__file__).parents[1] / "methods" / "sft"))
import tiny_stack as tiny
from sft_runs import Case

from tunekit.engine import trackers
from tunekit.errors import ActionError
from tunekit.methods.sft.run import run

pytestmark = pytest.mark.torch
SPEC: dict[str, Any] = {
    "model": "model:m", "data": ["dataset:a"], "batch_size": 4, "max_steps": 5, "learning_rate": 1e-2,
}  # fmt: skip


@pytest.fixture(scope="module")
def case(tmp_path_factory: pytest.TempPathFactory) -> Case:
    return Case(tmp_path_factory.mktemp("watch"))


@pytest.fixture(scope="module")
def plain(case: Case, tmp_path_factory: pytest.TempPathFactory) -> dict[str, bytes]:
    return tiny.tree(case.run(tmp_path_factory.mktemp("plain"), SPEC)[0]["last"])


def trained(case: Case, root: Path, **more: Any) -> tuple[dict[str, bytes], tiny.Recorder, Path]:
    """The artifact, the events and the folder of what is watched."""
    events, watch = tiny.Recorder(), root / "watch"
    req = case.request(root, SPEC | more)._replace(watch=str(watch))
    outputs = run(req, events)
    assert {p.name for p in Path(req.out).iterdir()} == {"last"}
    return tiny.tree(Path(req.out) / outputs["last"]), events, watch


@pytest.mark.parametrize(
    ("steps", "files", "done"),
    [
        ({"start": 2, "steps": 2}, ["trace-2-3.json"], [2, 3]),
        ({"steps": [1, 3, 4]}, ["trace-1-1.json", "trace-3-4.json"], [1, 3, 4]),
        ({"start": 4, "steps": 9}, ["trace-4-5.json"], [4, 5]),
    ],
)
def test_chosen_steps(case: Case, plain: dict[str, bytes], tmp_path: Path, capfd: Any, steps, files, done) -> None:
    artifact, events, watch = trained(case, tmp_path, profile=steps)
    assert artifact == plain
    found = events.settings["profile"]
    assert found["steps"] == done and found["files"] == files
    assert sorted(p.name for p in (watch / "profile").iterdir()) == files
    for file in files:
        names = {e.get("name") for e in json.loads((watch / "profile" / file).read_text())["traceEvents"]}
        assert {"aten::mm", "Optimizer.step#AdamW.step"} <= names
    top = {line["operator"]: line for line in found["top"]}
    assert "aten::mm" in top and len(top) == 20
    times = [line["cpu_ms"] for line in found["top"]]
    assert times == sorted(times, reverse=True) and times[-1] > 0
    assert "aten::mm" in capfd.readouterr().out


def test_steps_that_are_not_taken(case: Case, tmp_path: Path) -> None:
    _, events, watch = trained(case, tmp_path, profile={"start": 6})
    assert [w["slug"] for w in events.of("warning")] == ["nothing-profiled"] and not watch.exists()


def test_tensorboard(case: Case, plain: dict[str, bytes], tmp_path: Path) -> None:
    """The file is read back: the loss of every step."""
    event_accumulator = pytest.importorskip("tensorboard.backend.event_processing.event_accumulator")
    artifact, events, watch = trained(case, tmp_path, report_to=["tensorboard"])
    assert artifact == plain
    read = event_accumulator.EventAccumulator(str(watch / "tensorboard")).Reload()
    told = [(e.step, e.value) for e in read.Scalars("train/loss")]
    ours = [(step, figures["loss"]) for step, figures in events.metrics if "loss" in figures]
    assert [step for step, _ in told] == [1, 2, 3, 4, 5]
    assert [value for _, value in told] == pytest.approx([value for _, value in ours])


def test_wandb_stays_offline(case: Case, plain: dict[str, bytes], tmp_path: Path, monkeypatch: Any) -> None:
    """The run's file is read back with W&B's own reader."""
    pytest.importorskip("wandb")
    monkeypatch.delenv("WANDB_API_KEY", raising=False)
    artifact, events, watch = trained(case, tmp_path, report_to=["wandb"])
    assert artifact == plain
    (folder,) = (watch / "wandb" / "wandb").glob("offline-run-*")
    (file,) = folder.glob("*.wandb")
    assert [round(v, 5) for v in wandb_losses(file)] == [round(f["loss"], 5) for _, f in events.metrics if "loss" in f]


def wandb_losses(file: Path) -> list[float]:
    """W&B's file is a log of LevelDB's form (32 KiB blocks; crc, length, kind, data) of its own messages."""
    from wandb.proto import wandb_internal_pb2

    data, at, found, whole = file.read_bytes(), 7, [], b""
    while at + 7 <= len(data):
        if 32768 - at % 32768 < 7:
            at += 32768 - at % 32768
            continue
        size, kind = int.from_bytes(data[at + 4 : at + 6], "little"), data[at + 6]
        whole += data[at + 7 : at + 7 + size]
        at += 7 + size
        if kind in (1, 4):  # the whole of a message, or its last piece
            record = wandb_internal_pb2.Record()
            record.ParseFromString(whole)
            whole = b""
            for item in record.history.item:
                if "train/loss" in (item.key, *item.nested_key):
                    found.append(float(item.value_json))
    return found


def test_trackio(case: Case, plain: dict[str, bytes], tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    pytest.importorskip("trackio")
    monkeypatch.chdir(tmp_path)
    artifact, events, watch = trained(case, tmp_path, report_to=["trackio"])
    assert artifact == plain
    import sqlite3

    (file,) = (watch / "trackio").glob("*.db")
    rows = sqlite3.connect(file).execute("SELECT metrics FROM metrics ORDER BY id").fetchall()
    told = [m["train/loss"] for (text,) in rows if "train/loss" in (m := json.loads(text))]
    assert told == pytest.approx([f["loss"] for _, f in events.metrics if "loss" in f])


def test_a_package_that_is_missing(case: Case, tmp_path: Path, monkeypatch: Any) -> None:
    real = importlib.util.find_spec
    monkeypatch.setattr(trackers, "find_spec", lambda name: None if name == "tensorboard" else real(name))
    with pytest.raises(ActionError) as found:
        trained(case, tmp_path, report_to=["tensorboard"])
    assert found.value.slug == "missing-package" and "pip install tensorboard" in found.value.hint
