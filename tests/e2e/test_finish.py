"""`build --finish`: a real training is stopped, kept as its last checkpoint has it, and what follows builds from it."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import pytest

sys.path.insert(0, str(Path(__file__).parent))
from tiny_project import Project, children_of

pytestmark = pytest.mark.torch
LONGER = {
    "run.sft": ("max_steps = 6\nlearning_rate = 1e-3\ncpus = 1\n\n[run.grpo]",
                "max_steps = 60\ncheckpoint_steps = 4\nlearning_rate = 1e-3\ncpus = 1\n\n[run.grpo]"),
    "run.grpo": ("max_steps = 4\n", "max_steps = 40\ncheckpoint_steps = 2\n"),
    "merge.early": ("[merge.final]", '[merge.early]\ninputs = ["run:sft"]\n\n[merge.final]'),
}  # fmt: skip
_LOAD = """
import sys
from transformers import AutoModelForCausalLM, AutoTokenizer
from peft import PeftModel
merged, exported = sys.argv[1:]
ids = AutoTokenizer.from_pretrained(merged)("the king", return_tensors="pt")["input_ids"]
want = AutoModelForCausalLM.from_pretrained(merged)(ids).logits
base = AutoModelForCausalLM.from_pretrained(exported + "/base")
plain = base(ids).logits
assert (PeftModel.from_pretrained(base, exported)(ids).logits - want).abs().max() < 1e-4
assert (plain - want).abs().max() > 1e-3, "the adapter does something"
assert "tunekit" not in sys.modules
"""


@pytest.fixture(scope="module")
def project(tmp_path_factory: pytest.TempPathFactory) -> Project:
    base = tmp_path_factory.mktemp("finish")
    project = Project(base / "project", base / "store")
    for change in LONGER.values():
        project.edit("tunekit.toml", *change)
    return project


def stop_in_training(project: Project, label: str, step: int, how: signal.Signals, *labels: str) -> None:
    """Start a build, and send its process a signal when the run has taken `step` steps. While it still trains, a
    second build may not take the run over."""
    process = project.start("build", "--json", *labels)
    assert process.stdout is not None
    for line in process.stdout:
        event = json.loads(line)
        if event.get("action") == label and event["type"] == "progress" and event["done"] >= step:
            break
    else:
        raise AssertionError(process.communicate())
    if how == signal.SIGINT:
        os.kill(process.pid, signal.SIGSTOP)  # it holds the run while the other one looks, however slow that is
        said = project.start("build", "--finish", label, *labels)
        _, err = said.communicate(timeout=60)
        os.kill(process.pid, signal.SIGCONT)
        assert said.returncode == 1 and "error[in-use]" in err and "Ctrl-C" in err
    process.send_signal(how)
    process.communicate(timeout=60)
    assert process.returncode == (130 if how == signal.SIGINT else -how)
    deadline = time.monotonic() + 10
    while left := children_of(project):
        assert time.monotonic() < deadline, left
        time.sleep(0.05)


def last_checkpoint(project: Project) -> tuple[int, dict[str, Any]]:
    """Step and weights of the newest checkpoint in the only staging folder."""
    from safetensors.torch import load_file

    whole = [p.parent for p in project.store.glob("staging/*/work/train/checkpoint-*/tunekit-complete.json")]
    newest = max(whole, key=lambda p: int(p.name.rpartition("-")[2]))
    return int(newest.name.rpartition("-")[2]), load_file(newest / "adapter_model.safetensors")


def adapter_of(project: Project, label: str) -> dict[str, Any]:
    from safetensors.torch import load_file

    return load_file(Path(project.run("path", label).strip()) / "adapter_model.safetensors")


def same(a: dict[str, Any], b: dict[str, Any]) -> bool:
    return a.keys() == b.keys() and all((a[name] == b[name]).all() for name in a)


def test_a_run_is_finished_after_ctrl_c_and_trained_in_full_later(project: Project, tmp_path: Path) -> None:
    stop_in_training(project, "run:sft", 9, signal.SIGINT, "merge:early")
    step, kept = last_checkpoint(project)
    assert 8 <= step < 60
    dry = project.start("build", "--dry-run", "--finish", "run:sft", "merge:early")
    _, said = dry.communicate(timeout=60)
    assert dry.returncode == 0 and "run:sft: would be finished early" in said
    assert last_checkpoint(project)[0] == step

    lines = [json.loads(x) for x in project.run("build", "--json", "--finish", "run:sft", "merge:early").splitlines()]
    assert lines[-1]["executed"] == ["run:sft", "merge:early"]
    (begin,) = [e for e in lines if e["type"] == "begin" and e["action"] == "run:sft"]
    assert begin["reasons"] == ["finished early, from its last checkpoint"]
    assert not [e for e in lines if e["type"] == "progress" and e["action"] == "run:sft"], "no step was taken"
    assert same(adapter_of(project, "run:sft"), kept)
    shown = json.loads(project.run("show", "--json", "run:sft"))
    early = shown["record"]["attempt"]
    assert shown["record"]["effective"]["finished_early"] == {"step": step, "of": 60}
    assert [p["step"] for p in shown["metrics"]] == list(range(1, step + 1))
    words = f"finished early at step {step} of 60"
    for verb, label in (("show", "run:sft"), ("show", "merge:early"), ("why", "run:sft")):
        assert words in project.run(verb, label)
    project.run("export", "run:sft", str(tmp_path / "adapter"))
    assert words in (tmp_path / "adapter" / "README.md").read_text()
    merged = project.run("path", "merge:early").strip()
    env = {**os.environ, "HF_HUB_OFFLINE": "1", "OMP_NUM_THREADS": "1"}
    subprocess.run([sys.executable, "-c", _LOAD, merged, str(tmp_path / "adapter")], check=True, env=env, cwd=tmp_path)

    again = project.start("build", "--finish", "run:sft", "merge:early")
    out, err = again.communicate(timeout=60)
    assert again.returncode == 0 and f"run:sft is built ({words}): nothing is to finish" in err
    assert "nothing to do" in out
    assert project.build("merge:early") == []
    rebuilt = project.start("verify", "--rebuild", "run:sft")
    assert "error[finished-early]" in rebuilt.communicate(timeout=60)[1] and rebuilt.returncode == 2

    assert project.build("--force", "run:sft", "merge:early") == ["run:sft", "merge:early"]
    shown = json.loads(project.run("show", "--json", "run:sft"))
    assert shown["record"]["effective"]["summary"]["steps"] == 60
    assert "finished_early" not in shown["record"]["effective"]
    attempts = [a["attempt"] for a in shown["attempts"]]
    assert attempts == [early, shown["record"]["attempt"]]
    assert words in project.run("show", "run:sft", "--attempt", early)


def test_a_killed_grpo_is_finished(project: Project) -> None:
    stop_in_training(project, "run:grpo", 5, signal.SIGKILL, "merge:final")
    step, kept = last_checkpoint(project)
    assert 4 <= step < 40 and step % 2 == 0
    # of a label that is not asked for: the run itself is built, and nothing that follows
    assert project.build("--finish", "run:grpo", "run:sft") == ["run:grpo"]
    assert same(adapter_of(project, "run:grpo"), kept)
    record = json.loads(project.run("show", "--json", "run:grpo"))["record"]
    assert record["effective"]["finished_early"] == {"step": step, "of": 40}
    assert record["effective"]["summary"]["steps"] == step
    assert project.build("merge:final") == ["merge:final"]
