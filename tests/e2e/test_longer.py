"""Through the command line: a run that goes on from its kept state, and a sweep whose points share their tokens."""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Any

import pytest

sys.path.insert(0, str(Path(__file__).parent))
from tiny_project import Project

pytestmark = [pytest.mark.torch, pytest.mark.long]
OLD = "max_steps = 6\nlearning_rate = 1e-3\ncpus = 1\n\n[adapter.lora]"
KEPT = 'max_steps = {}\nlr_scheduler = "constant"\nkeep_state = true\n{}\ncpus = 1\n\n[adapter.lora]'
SEEDS = "matrix = {{ seed = {}, learning_rate = [1e-3] }}"


@pytest.fixture
def project(tmp_path: Path) -> Project:
    project = Project(tmp_path / "project", tmp_path / "store")
    project.edit("tunekit.toml", OLD, KEPT.format(4, SEEDS.format([1, 2])))
    project.edit("tunekit.toml", 'model = "run:base"', 'model = "run:base.seed-1.lr-1e-3"')
    return project


def test_a_sweep_goes_on(project: Project) -> None:
    points = [f"run:base.seed-{seed}.lr-1e-3" for seed in (1, 2)]
    executed = project.build("run:base")
    assert {*points} <= {*executed}
    assert len([label for label in executed if label.endswith("#tokens")]) == 1, "the points share them"
    project.edit("tunekit.toml", "max_steps = 4", "max_steps = 8")
    assert project.build(points[0]) == points[:1]
    longer = shown(project, points[0])
    assert longer["effective"]["extended"] == {"from_step": 4, "of": f"{points[0]}@state"}
    assert longer["effective"]["summary"]["steps"] == 8
    project.build("--force", points[0], points[0])
    straight, extended = attempts = json.loads(project.run("show", points[0], "--json"))["attempts"][::-1]
    assert len(attempts) == 2 and straight["attempt"] > extended["attempt"]
    assert straight["outputs"]["last"] == extended["outputs"]["last"], "bit by bit"


def shown(project: Project, label: str) -> dict[str, Any]:
    return json.loads(project.run("show", label, "--json"))["record"]
