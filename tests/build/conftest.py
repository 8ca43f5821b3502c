"""A project that is built once and copied for every test that damages it."""

from __future__ import annotations

import shutil
import sys
from pathlib import Path

import pytest

sys.path.insert(0, str(Path(__file__).parent))

from outside import write_declared


@pytest.fixture(scope="module")
def template(module_project):
    write_declared(module_project)
    done = module_project.build()
    assert done.ran == ["dataset:a#fetch", "dataset:a", "dataset:b", "dataset:c"], done.err
    return module_project


@pytest.fixture
def built(template, project, monkeypatch):
    """The template in a store of its own, settled: its next build has nothing to do."""
    monkeypatch.setattr("tunekit.plan.state._RACY", 0)  # a file may be trusted at once: no test waits for 2 s
    shutil.copytree(template.root, project.root, symlinks=True, dirs_exist_ok=True)
    shutil.copytree(template.store, project.store, symlinks=True)
    assert project.build().ran == []
    assert project.build().one("summary")["executed"] == []
    return project
