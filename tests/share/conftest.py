"""Two machines and a remote between them: projects with stores of their own on the same declarations."""

from __future__ import annotations

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


class Machines:
    """`make("mine")` is a clone of the project on another machine; `remote` is the folder between them."""

    def __init__(self, make_project, remote: Path) -> None:
        self._make = make_project
        self.remote = remote

    def make(self, name: str, url: str = "", rows: int = 3, declared: str = DECLARED):
        project = self._make(name, store=f"store of {name}")
        project.rows("a.jsonl", [{"x": i} for i in range(rows)])
        project.write("m.py", MAP)
        project.manifest(declared.replace("{url}", url or str(self.remote)))
        return project

    def objects(self) -> list[Path]:
        return sorted(p for p in (self.remote / "cas").iterdir())


@pytest.fixture
def machines(make_project, tmp_path) -> Machines:
    return Machines(make_project, tmp_path / "remote")


@pytest.fixture
def pushed(machines):
    """One machine has built and pushed."""
    mine = machines.make("mine")
    d = mine.build()
    assert d.ran == LABELS, print(d.out, d.err)
    done = mine.run("push")
    assert done.code == 0, done.err
    return mine
