"""Several processes train what one does; what did not form is an error; none is left behind."""

import json
import os
import shutil
import subprocess
import sys
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import pytest

sys.path.insert(0, str(Path(__file__).parent))
sys.path.insert(0, str(Path(__file__).parents[1] / "methods" / "sft"))
import tiny_stack as tiny
import torch
from safetensors.torch import load_file
from sft_runs import LORA, Case

pytestmark = pytest.mark.torch
ROOT = Path(__file__).parents[2]
SPEC: dict[str, Any] = {
    "model": "model:m",
    "data": ["dataset:a"],
    "eval_data": ["dataset:c"],
    "batch_size": 8,
    "max_steps": 6,
    "learning_rate": 1e-2,
    "checkpoint_steps": 2,
    "eval_steps": 3,
    "seed": 1,
}
STILL = LORA | {"dropout": 0.0}  # each process has a random state of its own
JOBS: dict[str, dict[str, Any]] = {
    "ddp": {"spec": {"processes": 2}},
    "zero1": {"spec": {"processes": 2, "strategy": "zero1", "adapter": STILL}},
    "ddp, adapter, packed": {
        "spec": {"processes": 2, "adapter": STILL, "packing": True, "sequence_len": 64, "micro_batch_size": 2}
    },
    "raised": {"spec": {"processes": 2}, "fault": {"raise": 5}},
    "raised, resumed": {"spec": {"processes": 2}, "root": "raised"},
    "zero1, killed": {"spec": {"processes": 2, "strategy": "zero1", "adapter": STILL}, "fault": {"kill": 5}},
    "zero1, resumed": {"spec": {"processes": 2, "strategy": "zero1", "adapter": STILL}, "root": "zero1, killed"},
    "too few": {"spec": {"processes": 2}, "processes": 1},
    "dropped": {
        "spec": {"processes": 2, "strategy": "zero1", "adapter": STILL},
        "provenance": {"drops_strategy": True},
    },
}


DEEPSPEED = find_spec("deepspeed") is not None
needs_deepspeed = pytest.mark.skipif(not DEEPSPEED, reason="deepspeed is not installed")


def marked(name: str, *values: str) -> Any:
    zero1 = JOBS[name]["spec"].get("strategy") == "zero1"
    return pytest.param(name, *values, marks=[needs_deepspeed] if zero1 else [])


class Ran:
    """What became of a job."""

    def __init__(self, root: Path, answer: dict[str, Any]) -> None:
        self.answer = answer
        self.events = [json.loads(line) for line in (root / "events").read_text().splitlines()]
        self.settings = {k: v for e in self.events if e["type"] == "effective" for k, v in e["settings"].items()}
        self.metrics = [(e["step"], e["figures"]) for e in self.events if e["type"] == "metric"]
        self.main = root / "out" / answer.get("outputs", {}).get("main", "")


@pytest.fixture(scope="module")
def case(tmp_path_factory: pytest.TempPathFactory) -> Case:
    return Case(tmp_path_factory.mktemp("launch"))


@pytest.fixture(scope="module")
def ran(case: Case, tmp_path_factory: pytest.TempPathFactory) -> dict[str, Ran]:
    base = tmp_path_factory.mktemp("jobs")
    jobs, roots = [], {}
    for name, job in jobs_here().items():
        root = roots[name] = roots.get(job.get("root", ""), base / name)
        request = case.request(root, SPEC | job["spec"])
        body = json.loads(request.to_json())
        body["provenance"] |= job.get("provenance", {})
        fault, processes = job.get("fault", {}), job.get("processes", 2)
        jobs.append({"request": body, "processes": processes, "fault": fault, "events": str(root / "events")})
    (base / "jobs.json").write_text(json.dumps(jobs))
    env = {"PYTHONPATH": f"{ROOT}:{ROOT / 'kernels'}", "PATH": os.environ["PATH"], "HOME": os.environ["HOME"]}
    out: dict[str, Ran] = {}
    script = [sys.executable, str(Path(__file__).with_name("processes_child.py")), str(base / "jobs.json")]
    with (
        (base / "log").open("w") as log,
        subprocess.Popen(
            script, env=env | {"OMP_NUM_THREADS": "1"}, stdout=subprocess.PIPE, stderr=log, text=True
        ) as child,
    ):
        assert child.stdout
        for name, line in zip(roots, child.stdout, strict=False):
            out[name] = Ran(roots[name], json.loads(line))
            if not name.endswith("resumed"):  # `out` of one root is written anew by the job that resumes it
                out[name].main = keep(out[name].main, base / "kept" / name)
    assert child.returncode == 0 and len(out) == len(jobs), (base / "log").read_text()[-3000:]
    return out


def jobs_here() -> dict[str, dict[str, Any]]:
    return {n: j for n, j in JOBS.items() if DEEPSPEED or j["spec"].get("strategy") != "zero1"}


def keep(main: Path, to: Path) -> Path:
    return Path(shutil.copytree(main, to)) if main.name != "out" else main


def single(case: Case, root: Path, spec: dict[str, Any]) -> tuple[Path, tiny.Recorder]:
    outputs, events = case.run(root, SPEC | {k: v for k, v in spec.items() if k not in ("processes", "strategy")})
    return outputs["main"], events


@pytest.mark.parametrize("name", [marked(n) for n, j in JOBS.items() if set(j) == {"spec"}])
def test_the_same_training(case: Case, ran: dict[str, Ran], tmp_path: Path, name: str) -> None:
    """Losses, gradient norms, counts and weights of one process, to the rounding of float32 sums."""
    spec = JOBS[name]["spec"]
    main, events = single(case, tmp_path, spec)
    found = ran[name]
    assert found.answer.get("outputs"), found.answer
    strategy = spec.get("strategy", "ddp")
    assert found.settings["parallel"] == {"strategy": strategy, "processes": 2, "backend": "gloo"}
    assert found.settings["world_size"] == 2 and found.settings["strategy"] == strategy
    assert [step for step, _ in found.metrics] == [step for step, _ in events.metrics]
    for (_, ours), (_, theirs) in zip(found.metrics, events.metrics, strict=True):
        assert set(ours) == set(theirs)
        # Rows of one forward pass are padded to one length, and TRL's accuracy is a mean over these passes.
        same = set(ours) - {"padding_tokens", *(("mean_token_accuracy",) if "micro_batch_size" in spec else ())}
        assert {n: ours[n] for n in same} == pytest.approx({n: theirs[n] for n in same}, rel=2e-4, abs=1e-6)
    (name,) = [p.name for p in main.glob("*.safetensors")]
    wanted, got = load_file(main / name), load_file(found.main / name)
    assert set(wanted) == set(got)
    for key in wanted:
        torch.testing.assert_close(got[key], wanted[key], rtol=1e-3, atol=2e-4)


@pytest.mark.parametrize(("straight", "resumed"), [marked("ddp", "raised, resumed"), marked("zero1", "zero1, resumed")])
def test_resumed_bit_for_bit(ran: dict[str, Ran], straight: str, resumed: str) -> None:
    assert ran[resumed].settings["resumed_from_step"] == 4
    assert tiny.tree(ran[resumed].main) == tiny.tree(ran[straight].main)
    assert ran[resumed].metrics == ran[straight].metrics


def test_what_one_of_them_raises_is_the_error(ran: dict[str, Ran]) -> None:
    assert ran["raised"].answer == {"error": "told-to", "message": "told to"}


@needs_deepspeed
def test_a_killed_process_ends_them_all(ran: dict[str, Ran]) -> None:
    assert ran["zero1, killed"].answer["error"] == "process-died"


def test_what_did_not_form_is_an_error(ran: dict[str, Ran]) -> None:
    assert ran["too few"].answer["error"] == "world-not-formed"


@needs_deepspeed
def test_another_strategy_is_an_error(ran: dict[str, Ran]) -> None:
    assert ran["dropped"].answer["error"] == "strategy-not-formed"
    assert "ddp over 2" in ran["dropped"].answer["message"]
