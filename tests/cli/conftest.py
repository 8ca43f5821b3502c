"""Projects of light targets, built once, and verbs called in this process."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, NamedTuple

import pytest

from tunekit.cli.main import run

TOML = """\
[project]
name = "light"

[dataset.a]
source = "path:a.jsonl"

[dataset.b]                            # a comment that stays
from = ["dataset:a"]
map = "ops.py:f"
args = { k = 1 }
"""


class Said(NamedTuple):
    code: int
    out: str
    err: str

    @property
    def json(self) -> Any:
        return json.loads(self.out)


def write_project(root: Path) -> Path:
    root.mkdir(parents=True, exist_ok=True)
    (root / "tunekit.toml").write_text(TOML)
    (root / "a.jsonl").write_text('{"text": "hi"}\n{"text": "ho"}\n')
    (root / "ops.py").write_text("def f(row, k):\n    print('seen', row)\n    return {**row, 'k': k}\n")
    return root


@pytest.fixture(scope="session")
def session_env(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """A store and a configuration of our own for the whole session."""
    base = tmp_path_factory.mktemp("tunekit")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("TUNEKIT_STORE", str(base / "store"))
        patch.setenv("TUNEKIT_CONFIG", str(base / "config"))
        patch.delenv("TUNEKIT_TRUST", raising=False)
        yield base


@pytest.fixture(scope="session")
def built(session_env: Path) -> Path:
    """A project whose dataset:b was built twice (k = 1, then 2). Look, do not touch."""
    root = write_project(session_env / "built")
    assert run(["build", "--trust", "-C", str(root)]) == 0
    text = (root / "tunekit.toml").read_text().replace("k = 1", "k = 2")
    (root / "tunekit.toml").write_text(text)
    assert run(["build", "--trust", "-C", str(root)]) == 0
    return root


@pytest.fixture
def fresh(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A project that was never built, with a store and a configuration that nobody else uses."""
    monkeypatch.setenv("TUNEKIT_STORE", str(tmp_path / "store"))
    monkeypatch.setenv("TUNEKIT_CONFIG", str(tmp_path / "config"))
    monkeypatch.delenv("TUNEKIT_TRUST", raising=False)
    return write_project(tmp_path / "project")


@pytest.fixture
def copied(built: Path, tmp_path: Path) -> Path:
    """The built project in another folder, on the same store: edit it."""
    root = tmp_path / "copy"
    shutil.copytree(built, root, symlinks=True)
    return root


Call = Callable[..., Said]


@pytest.fixture
def call(capsys: pytest.CaptureFixture[str]) -> Call:
    """`call(root, "status", "--json")`: exit code and what was printed."""

    def go(root: Path, verb: str, *words: str) -> Said:
        capsys.readouterr()
        code = run([verb, *words, "-C", str(root)])
        return Said(code, *capsys.readouterr())

    return go
