"""A training by two processes, through the command line: killed, nothing of it lives on, and it goes on."""

import json
import os
import signal
import sys
import time
from pathlib import Path

import pytest

sys.path.insert(0, str(Path(__file__).parent))
from tiny_project import Project, children_of

pytestmark = pytest.mark.torch
TWO = ("--set", "run:sft.processes=2")


def test_a_killed_build_leaves_no_process_and_goes_on(tmp_path: Path) -> None:
    project = Project(tmp_path / "project", tmp_path / "store")
    project.edit("tunekit.toml", "max_steps = 6\nlearning_rate = 1e-3\ncpus = 1\n\n[run.grpo]", SLOW)
    project.build("run:base")
    process = project.start("build", "run:sft", "--json", *TWO)
    assert process.stdout
    for line in process.stdout:
        event = json.loads(line)
        if event.get("type") == "progress" and event["action"] == "run:sft" and event["done"] >= 8:
            break
    os.kill(process.pid, signal.SIGKILL)
    process.communicate(timeout=30)
    until = time.monotonic() + 20
    while children_of(project) and time.monotonic() < until:
        time.sleep(0.1)
    assert not children_of(project)
    lines = [json.loads(line) for line in project.run("build", "run:sft", "--json", *TWO).splitlines()]
    settings = {k: v for e in lines if e.get("type") == "effective" for k, v in e["settings"].items()}
    assert settings["resumed_from_step"] >= 4
    assert settings["parallel"] == {"strategy": "ddp", "processes": 2, "backend": "gloo"}
    assert lines[-1]["executed"] == ["run:sft"]


SLOW = "max_steps = 60\nlearning_rate = 1e-3\ncheckpoint_steps = 4\ncpus = 2\n\n[run.grpo]"
