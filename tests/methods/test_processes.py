"""Two processes on gloo train what one does: the methods whose losses are weighed over the whole step, and distill."""

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

sys.path.insert(0, str(Path(__file__).parent))
from pair_rows import PAIRED, encoded, pair_tokens, pairs
from safetensors.torch import load_file
from tiny_room import LORA, Room, tiny

from tunekit.methods.distill.run import run as distill
from tunekit.methods.orpo.run import run as orpo
from tunekit.methods.prm.run import run as prm
from tunekit.methods.reward.run import run as reward
from tunekit.methods.simpo.run import run as simpo

pytestmark = [pytest.mark.torch, pytest.mark.long]
ROOT = Path(__file__).parents[2]
RUNS = {"orpo": orpo, "simpo": simpo, "reward": reward, "prm": prm, "distill": distill}
SPEC = PAIRED | {
    "batch_size": 12,
    "micro_batch_size": 3,
    "max_steps": 3,
    "learning_rate": 1e-2,
    "adapter": LORA | {"dropout": 0.0},  # each process has a random state of its own
    "eval_data": ["dataset:b"],
}


@pytest.fixture(scope="module")
def asked(tmp_path_factory: pytest.TempPathFactory) -> dict[str, tuple[dict[str, Any], dict[str, str]]]:
    """Spec and inputs of every method."""
    room = Room(tmp_path_factory.mktemp("processes"), "", orpo)
    rows, held_out = pairs(24, 0), pairs(5, 1)
    base = {"base": room.model}
    two = pair_tokens(room, "pairs", rows, held_out)
    told = [
        [encoded(r.prompt, r.chosen, [i % 2 == 0 for i in range(len(r.chosen))]) for r in x] for x in (rows, held_out)
    ]
    steps = tiny.encoded_tokens(room.root / "steps", [("steps", [x]) for x in told])
    plain = room.tokens("plain", tiny.random_rows(24), tiny.random_rows(5, 1))
    out = {method: (SPEC, base | {"tokens": two}) for method in ("orpo", "simpo", "reward")}
    out["prm"] = SPEC, base | {"tokens": steps}
    teacher = room.new_model("teacher", 7, initializer_range=0.3)
    out["distill"] = SPEC | {"teacher": "model:t"}, base | {"tokens": plain, "teacher": teacher}
    return out


@pytest.fixture(scope="module")
def launched(asked: Any, tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    base = tmp_path_factory.mktemp("launched")
    jobs = []
    for method, (spec, inputs) in asked.items():
        root = base / method
        request = tiny.request(root, f"run.{method}", spec | {"processes": 2}, **inputs)
        body = json.loads(request.to_json())
        jobs.append({"request": body, "processes": 2, "fault": {}, "events": str(root / "events")})
    (base / "jobs.json").write_text(json.dumps(jobs))
    env = {k: os.environ[k] for k in ("PATH", "HOME")} | {"PYTHONPATH": f"{ROOT}:{ROOT / 'kernels'}"}
    script = ROOT / "tests" / "engine" / "processes_child.py"
    command = [sys.executable, str(script), str(base / "jobs.json")]
    done = subprocess.run(command, env=env | {"OMP_NUM_THREADS": "1"}, capture_output=True, text=True, timeout=600)
    answers = [json.loads(line) for line in done.stdout.splitlines()]
    assert done.returncode == 0 and all("outputs" in a for a in answers), (answers, done.stderr[-3000:])
    return {method: base / method for method in asked}


@pytest.mark.parametrize("method", RUNS)
def test_two_processes_train_what_one_does(asked: Any, launched: Any, tmp_path: Path, method: str) -> None:
    spec, inputs = asked[method]
    events = tiny.Recorder()
    RUNS[method](tiny.request(tmp_path, f"run.{method}", spec, **inputs), events)
    lines = [json.loads(line) for line in (launched[method] / "events").read_text().splitlines()]
    found = [(e["step"], e["figures"]) for e in lines if e["type"] == "metric"]
    assert len(found) == len(events.metrics) == 4
    for (step, one), (other_step, other) in zip(events.metrics, found, strict=True):
        assert step == other_step and one == pytest.approx(other, rel=1e-3, abs=1e-5)
    a, b = (load_file(root / "out" / "last" / "adapter_model.safetensors") for root in (tmp_path, launched[method]))
    assert all((a[name] - b[name]).abs().max() < 2e-3 for name in a)
