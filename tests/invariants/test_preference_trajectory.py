"""Runs of dpo and kto that differ in how a step is computed, and must not differ in what it computes."""

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

sys.path.insert(0, str(Path(__file__).parents[1] / "methods"))
sys.path.insert(0, str(Path(__file__).parent))
from pair_rows import PAIRED, encoded, pair_tokens, pairs
from referenced import reference
from tiny_room import Room, tiny
from trajectory import Trajectory, assert_shared, trajectory_of

from tunekit.methods.dpo.run import run as run_dpo
from tunekit.methods.kto.run import run as run_kto

pytestmark = pytest.mark.torch
# SGD: its step is the gradient, where Adam's would hide a factor.
SPEC: dict[str, Any] = PAIRED | {
    "batch_size": 8,
    "max_steps": 4,
    "learning_rate": 0.5,
    "optimizer": "sgd",
    "lr_scheduler": "constant",
    "checkpoint_steps": 2,
}
RUNS = {"dpo": run_dpo, "kto": run_kto}
ROOT = Path(__file__).parents[2]
NAMES = ("loss", "grad_norm", "rewards/chosen", "rewards/rejected", "rewards/margins", "logps/chosen", "entropy")
WAYS: dict[str, dict[str, Any]] = {
    "accumulated": {"micro_batch_size": 4},
    "two rows at a time": {"micro_batch_size": 2},
    "checkpointed": {"gradient_checkpointing": True, "micro_batch_size": 4},
    "padding-free": {"padding_free": True, "micro_batch_size": 4},
}


class Case(Room):
    """A method's room with what it reads."""

    def __init__(self, root: Path, method: str) -> None:
        super().__init__(root, f"run.{method}", RUNS[method])
        rows, scored = pairs(16, 0), {"data": [{}], "sequence_len": 1024}
        if method == "kto":
            answers = [
                encoded(row.prompt, row.chosen if i % 2 else row.rejected, [bool(i % 2)]) for i, row in enumerate(rows)
            ]
            tokens = tiny.encoded_tokens(root / "tokens", [("verdict", [answers])])
            scored["pairing"] = {"seed": 42, "block": 8}
        else:
            tokens = pair_tokens(self, "tokens", rows)
        self.inputs = {"tokens": tokens, "reference": reference(self, root / "reference", scored, tokens=tokens)}

    def trajectory(self, root: Path, spec: dict[str, Any]) -> Trajectory:
        return trajectory_of(*self.run(root, SPEC | spec, **self.inputs), names=NAMES)


@pytest.fixture(scope="module")
def cases(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Case]:
    return {method: Case(tmp_path_factory.mktemp(method), method) for method in RUNS}


@pytest.fixture(scope="module")
def whole(cases: dict[str, Case], tmp_path_factory: pytest.TempPathFactory) -> dict[str, Trajectory]:
    """All rows of a step in one padded forward pass."""
    return {method: case.trajectory(tmp_path_factory.mktemp("whole"), {}) for method, case in cases.items()}


@pytest.mark.parametrize(("method", "way"), [(m, w) for m in RUNS for w in WAYS if (m, w) != ("kto", "padding-free")])
def test_one_trajectory(
    cases: dict[str, Case], whole: dict[str, Trajectory], tmp_path: Path, method: str, way: str
) -> None:
    assert_shared(cases[method].trajectory(tmp_path, WAYS[way]), whole[method], tolerance=1e-4)


@pytest.mark.parametrize("method", ["dpo", pytest.param("kto", marks=pytest.mark.long)])
def test_two_processes_share_it(
    cases: dict[str, Case], whole: dict[str, Trajectory], tmp_path: Path, method: str
) -> None:
    """Started as a worker does."""
    request = cases[method].request(tmp_path, SPEC | {"processes": 2}, **cases[method].inputs)
    job = {"request": json.loads(request.to_json()), "processes": 2, "fault": {}, "events": str(tmp_path / "events")}
    (tmp_path / "jobs.json").write_text(json.dumps([job]))
    script = [sys.executable, str(ROOT / "tests/engine/processes_child.py"), str(tmp_path / "jobs.json")]
    env = {**os.environ, "PYTHONPATH": f"{ROOT}:{ROOT / 'kernels'}", "OMP_NUM_THREADS": "1"}
    done = subprocess.run(script, env=env, capture_output=True, text=True, timeout=300)
    outputs = json.loads(done.stdout).get("outputs") if done.returncode == 0 else None
    assert outputs, (done.stdout, done.stderr[-3000:])
    events = tiny.Recorder()
    events.seen = [json.loads(text) for text in (tmp_path / "events").read_text().splitlines()]
    assert events.settings["parallel"]["processes"] == 2
    places = {role: tmp_path / "out" / name for role, name in outputs.items()}
    assert_shared(trajectory_of(places, events, names=NAMES), whole[method], tolerance=1e-4)
