"""Two machines and a remote between them: projects with stores of their own on the same declarations."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest

DECLARED = """
[project]
name = "shared"
default = ["dataset:c"]

[remote]
url = "{url}"

[dataset.a]
source = "path:a.jsonl"
[dataset.b]
from = ["dataset:a"]
map = "m.py:f"
[dataset.c]
from = ["dataset:b"]
limit = 2
"""
MAP = 'def f(row): return {"x": row["x"] + 1}\n'
LABELS = ["dataset:a#fetch", "dataset:a", "dataset:b", "dataset:c"]


def declare(project, url: str, rows: int = 3, declared: str = DECLARED):
    project.rows("a.jsonl", [{"x": i} for i in range(rows)])
    project.write("m.py", MAP)
    project.manifest(declared.replace("{url}", url))
    return project


class Machines:
    """`make("mine")` is a clone of the project on another machine; `remote` is the folder between them."""

    labels = LABELS

    def __init__(self, make_project, remote: Path) -> None:
        self._make = make_project
        self.remote = remote

    def make(self, name: str, url: str = "", rows: int = 3, declared: str = DECLARED):
        return declare(self._make(name, store=f"store of {name}"), url or str(self.remote), rows, declared)

    def objects(self) -> list[Path]:
        return sorted(p for p in (self.remote / "cas").iterdir())


@pytest.fixture
def machines(make_project, tmp_path) -> Machines:
    return Machines(make_project, tmp_path / "remote")


@pytest.fixture(scope="module")
def built_store(module_project) -> Path:
    """A store in which the declarations were built, once for a file of tests."""
    assert declare(module_project, "nowhere").build("--offline").ran == LABELS
    return module_project.store


@pytest.fixture
def built(machines, built_store):
    """One machine has built."""
    mine = machines.make("mine")
    shutil.copytree(built_store, mine.store, symlinks=True)
    return mine


@pytest.fixture
def pushed(machines, built):
    """One machine has built and pushed."""
    done = built.run("push")
    assert done.code == 0, done.err
    assert built.build("--offline").ran == []
    return built
