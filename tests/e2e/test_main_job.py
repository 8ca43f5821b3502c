"""The main job on a tiny project, through the real command line, nursery, trainers and store."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

sys.path.insert(0, str(Path(__file__).parent))
from tiny_project import Project, children_of

pytestmark = pytest.mark.torch


@pytest.fixture(scope="module")
def built(tmp_path_factory: pytest.TempPathFactory) -> Project:
    base = tmp_path_factory.mktemp("first")
    project = Project(base / "project", base / "store")
    executed = project.build()
    assert executed[-1] in ("merge:final", "eval:grpo")
    assert {"run:base", "run:sft", "run:grpo", "run:grpo#rewards", "run:sft#tokens", "eval:base"} <= set(executed)
    return project


def test_a_second_build_does_nothing(built: Project) -> None:
    before = snapshot(built)
    out = built.run("build")
    assert out.startswith("nothing to do")
    assert snapshot(built) == before


def snapshot(project: Project) -> dict[str, tuple[int, ...]]:
    found = {}
    for base in (project.root, project.store):
        for path in base.rglob("*"):
            s = path.lstat()
            found[str(path)] = (s.st_ino, s.st_size, s.st_mtime_ns, s.st_ctime_ns)
    return found


def test_only_what_a_change_touches_runs_and_reverting_runs_nothing(built: Project) -> None:
    after = ["eval:grpo", "merge:final", "run:grpo"]
    built.edit("tunekit.toml", "max_steps = 4\nlearning_rate = 1e-3", "max_steps = 4\nlearning_rate = 2e-3")
    plan = built.run("build", "--dry-run")
    assert "learning_rate: 0.001 → 0.002" in plan
    assert sorted(built.build()) == after
    built.edit("tunekit.toml", "learning_rate = 2e-3", "learning_rate = 1e-3")
    assert built.build() == []
    assert sorted(built.build("--set", "run:grpo.seed=7")) == after


def test_operational_and_numeric_fields_and_comments_run_nothing(built: Project) -> None:
    built.edit(
        "tunekit.toml",
        "num_generations = 4",
        "num_generations = 4 # a group\ncheckpoint_steps = 3\nmicro_batch_size = 8",
    )
    try:
        assert built.build() == []
    finally:
        built.edit("tunekit.toml", " # a group\ncheckpoint_steps = 3\nmicro_batch_size = 8", "")


def test_an_edited_reward_runs_its_users_and_back_again_nothing(built: Project) -> None:
    built.edit("rewards.py", "20) / 20", "24) / 24")
    executed = built.build()
    assert sorted(executed) == ["eval:grpo", "merge:final", "run:grpo", "run:grpo#rewards"]
    built.edit("rewards.py", "24) / 24", "20) / 20")
    assert built.build() == []


def test_another_folder_and_another_store_give_the_same_artifacts(built: Project, tmp_path: Path) -> None:
    other = Project(tmp_path / "elsewhere" / "deeper", tmp_path / "other-store")
    other.build()
    mine, theirs = built.digests(), other.digests()
    assert {label: mine[label] for label in theirs} == theirs


def test_a_killed_training_continues_and_ends_with_the_same_bytes(built: Project, tmp_path: Path) -> None:
    """SIGKILL in the middle of run:base: of its worker, then of the whole build. Both go on from a checkpoint."""
    longer = ("max_steps = 6\nlearning_rate = 1e-3\ncpus = 1\n\n[adapter", "max_steps = 60\ncheckpoint_steps = 4\n"
              "learning_rate = 1e-3\ncpus = 1\n\n[adapter")  # fmt: skip
    straight = Project(tmp_path / "straight", tmp_path / "s1" / "store")
    straight.edit("tunekit.toml", *longer)
    straight.build("run:base")
    cut = Project(tmp_path / "cut", tmp_path / "s2" / "store")
    cut.edit("tunekit.toml", *longer)
    died, at = kill_in_training(cut, whole_build=False)
    assert died.returncode == 1
    assert at >= 8
    _, at = kill_in_training(cut, whole_build=True)
    lines = [json.loads(x) for x in cut.run("build", "--json", "run:base").splitlines()]
    steps = [e["done"] for e in lines if e["type"] == "progress" and e["action"] == "run:base"]
    assert min(steps) > 4, "it began again instead of continuing"
    assert cut.digests()["run:base"] == straight.digests()["run:base"]
    assert metrics(cut) == metrics(straight)


def kill_in_training(project: Project, *, whole_build: bool) -> tuple[subprocess.Popen[str], int]:
    """Kill at a step ≥ 8. Checks that no child survives."""
    process = project.start("build", "--json", "run:base")
    assert process.stdout is not None
    pid = step = 0
    for line in process.stdout:
        event = json.loads(line)
        if event.get("action") == "run:base" and event["type"] == "start":
            pid = event["pid"]
        if event.get("action") == "run:base" and event["type"] == "progress" and event["done"] >= 8:
            step = event["done"]
            break
    assert step and pid, "the run ended before it could be killed"
    os.kill(process.pid if whole_build else pid, signal.SIGKILL)
    process.communicate(timeout=60)
    deadline = time.monotonic() + 10
    while time.monotonic() < deadline and (left := children_of(project)):
        time.sleep(0.1)
    assert not left
    return process, step


def metrics(project: Project) -> list[dict]:
    shown = json.loads(project.run("show", "--json", "run:base"))
    return shown["metrics"]


def test_ctrl_c_ends_quickly_and_says_how_to_go_on(built: Project, tmp_path: Path) -> None:
    project = Project(tmp_path / "p", tmp_path / "s" / "store")
    process = project.start("build", "--json", "run:base")
    assert process.stdout is not None
    next(line for line in process.stdout if json.loads(line)["type"] == "begin")
    asked = time.monotonic()
    process.send_signal(signal.SIGINT)
    _, err = process.communicate(timeout=20)
    assert time.monotonic() - asked < 5
    assert process.returncode == 130, err
    assert "the same command continues from here" in err
    assert not children_of(project)


_LOAD = """
import sys
from transformers import AutoModelForCausalLM, AutoTokenizer
from peft import AutoPeftModelForCausalLM, PeftModel
merged, adapter, exported = sys.argv[1:]
tokenizer = AutoTokenizer.from_pretrained(merged)
model = AutoModelForCausalLM.from_pretrained(merged)
ids = tokenizer("the king", return_tensors="pt")["input_ids"]
want = model(ids).logits
again = PeftModel.from_pretrained(AutoModelForCausalLM.from_pretrained(exported + "/base"), exported)
assert (again(ids).logits - want).abs().max() < 1e-4
auto = AutoPeftModelForCausalLM.from_pretrained(exported)
assert (auto(ids).logits - want).abs().max() < 1e-4
assert "tunekit" not in sys.modules
"""


def test_results_load_without_tunekit(built: Project, tmp_path: Path) -> None:
    built.build()
    merged = built.run("path", "merge:final").strip()
    built.run("export", "run:grpo", str(tmp_path / "adapter"))
    card = (tmp_path / "adapter" / "README.md").read_text()
    assert "run:grpo" in card
    adapter = built.run("path", "run:grpo").strip()
    env = {**os.environ, "HF_HUB_OFFLINE": "1", "OMP_NUM_THREADS": "1"}
    command = [sys.executable, "-c", _LOAD, merged, adapter, str(tmp_path / "adapter")]
    subprocess.run(command, check=True, env=env, capture_output=True, cwd=tmp_path)


def test_records_hold_the_effective_settings(built: Project) -> None:
    shown = json.loads(built.run("show", "--json", "run:grpo"))
    effective = shown["record"]["effective"]
    for name in ("attn", "dtype", "devices", "batch", "trainable", "threads", "determinism", "libraries"):
        assert name in effective, name
    assert shown["record"]["environment"]["packages"]["trl"]


@pytest.mark.parametrize(
    ("body", "slug"),
    [
        ("raise ValueError('boom')", "reward-raised"),
        ("return [0.5]", "reward-length"),
        ("return [float('nan')] * len(completions)", "reward-not-finite"),
        ("import time; time.sleep(60)", "reward-timeout"),
    ],
)
def test_a_bad_reward_stops_the_build_before_training(built: Project, body: str, slug: str) -> None:
    original = (built.root / "rewards.py").read_text()
    built.edit("tunekit.toml", "num_generations = 4", "num_generations = 4\nreward_timeout = 1.5")
    (built.root / "rewards.py").write_text(f"def length(completions, **columns):\n    {body}\n")
    try:
        process = built.start("build", "run:grpo")
        out, err = process.communicate(timeout=120)
        assert process.returncode == 1
        assert f"error[{slug}]" in err
        assert "rewards.py:length" in err
        assert "done run:grpo" not in out
    finally:
        (built.root / "rewards.py").write_text(original)
        built.edit("tunekit.toml", "\nreward_timeout = 1.5", "")
