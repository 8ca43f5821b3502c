"""A cached graph does not hide that the files behind a `path:` source came, went or moved."""

from __future__ import annotations

import shutil

import pytest

TOML = """\
[dataset.a]
source = "path:a.jsonl"

[dataset.b]
source = "path:data/*.jsonl"

[dataset.c]
from = ["dataset:b"]
"""
MISSING = "error[missing-file]: `path:data/*.jsonl`: no file matches\n  --> tunekit.toml:7  [dataset.b] source"


@pytest.fixture
def two(project, monkeypatch):
    """Two datasets with files of their own. A file may be trusted at once: no test waits for 2 s."""
    monkeypatch.setattr("tunekit.plan.state._RACY", 0)
    project.manifest(TOML)
    project.rows("a.jsonl", [{"text": "a"}])
    project.rows("data/1.jsonl", [{"text": "b"}])
    return project


def reads(project, monkeypatch) -> list[int]:
    """One item a time that the TOML is read."""
    import tunekit.manifest.project as module

    seen: list[int] = []
    real = module.load
    monkeypatch.setattr(module, "load", lambda *a: seen.append(1) or real(*a))
    return seen


def test_a_file_that_appears(two):
    (two.root / "a.jsonl").unlink()
    for verb in ("plan", "build", "lock", "status", "graph"):
        done = two.run(verb)
        assert done.code == 2 and "--> tunekit.toml:4  [dataset.a] source" in done.err, (verb, done.err)
    assert not (two.root / ".tunekit").exists(), "nothing of a declaration that is wrong is kept"
    two.rows("a.jsonl", [{"text": "a"}])
    assert two.run("plan").code == 0


@pytest.mark.parametrize("label", ["dataset:c", "dataset:a"])  # the source was planned before, or never
def test_a_file_that_vanishes(two, label):
    assert two.build(label).code == 0
    assert two.run("build", label).out.startswith("nothing to do")
    shutil.move(two.root / "data/1.jsonl", two.root / "kept")
    # also where the request does not need it
    for words in (["build"], ["build", "dataset:a"], ["plan", "dataset:a"], ["status", "dataset:a"], ["lock"]):
        done = two.run(*words)
        assert done.code == 2 and MISSING in done.err, (words, done)
    shutil.move(two.root / "kept", two.root / "data/1.jsonl")
    assert two.run("plan").code == 0
    assert two.build(label).ran == []


def test_a_file_that_becomes_a_link_out_of_the_project(two, tmp_path):
    assert two.build("dataset:a").code == 0
    (two.root / "data/1.jsonl").unlink()
    (tmp_path / "secret").write_text("{}")
    (two.root / "data/1.jsonl").symlink_to(tmp_path / "secret")
    done = two.run("build", "dataset:a")
    assert done.code == 2 and "error[path-outside-project]" in done.err and "tunekit.toml:7" in done.err


def test_an_edit_does_not_read_the_declaration_again(two, monkeypatch):
    """What makes the cache worth having: only a file that goes does."""
    assert two.build().code == 0
    seen = reads(two, monkeypatch)
    two.rows("data/1.jsonl", [{"text": "bb"}])
    two.rows("data/2.jsonl", [{"text": "b"}])
    assert two.build().ran == ["dataset:b#fetch", "dataset:b", "dataset:c"] and not seen
    (two.root / "data/1.jsonl").unlink()
    assert two.build().code == 0 and not seen
    (two.root / "data/2.jsonl").unlink()
    assert two.build().code == 2 and seen
