"""A source that cannot be pinned stops what is made from it, and nothing else; and two that write one lock."""

from __future__ import annotations

import json
import threading

import pytest

from tunekit.lockfile import Environment, edit_lock, empty_lock, load_lock

TOML = """\
[project]
name = "p"

[dataset.good]
source = "path:{outside}/good.jsonl"
pin = true
[dataset.bad]
source = "path:{outside}/bad.jsonl"
pin = true
"""


@pytest.fixture
def project(fresh, tmp_path):
    outside = tmp_path / "elsewhere"
    outside.mkdir()
    (outside / "good.jsonl").write_text('{"x": 1}\n')
    (fresh / "tunekit.toml").write_text(TOML.replace("{outside}", str(outside)))
    return fresh


def pinned(project) -> list[str]:
    return [source.rpartition("/")[2] for source in load_lock(project / "tunekit.lock").sources]


def test_a_build_pins_what_it_builds(project, call):
    said = call(project, "build", "dataset:good")
    assert said.code == 0, said.err
    assert pinned(project) == ["good.jsonl"]
    assert "nothing to do" in call(project, "build", "dataset:good").out
    assert call(project, "build", "--frozen", "dataset:good").code == 0
    assert call(project, "build", "--frozen", "dataset:bad").code == 3


def test_what_needs_it_stops_with_its_own_error(project, call):
    said = call(project, "build", "dataset:bad")
    assert said.code != 0 and "error[missing-file]" in said.err, said


def test_keep_going_builds_the_rest(project, call):
    said = call(project, "build", "--keep-going", "--json", "dataset:good", "dataset:bad")
    summary = json.loads(said.out.splitlines()[-1])
    assert summary["failed"] == ["dataset:bad"] and "dataset:good" in summary["executed"]
    assert said.code == call(project, "build", "dataset:bad").code != 0
    assert "error[missing-file]" in said.err and "cannot be pinned: dataset:bad" in said.err
    again = call(project, "build", "--keep-going", "dataset:good", "dataset:bad")
    assert again.code == said.code and "nothing to do" not in again.out


def test_lock_pins_what_it_can_and_fails(project, call, tmp_path):
    said = call(project, "lock")
    assert said.code != 0 and "error[missing-file]" in said.err
    assert pinned(project) == ["good.jsonl"]
    (tmp_path / "elsewhere" / "bad.jsonl").write_text('{"x": 2}\n')
    assert call(project, "lock").code == 0 and sorted(pinned(project)) == ["bad.jsonl", "good.jsonl"]


def test_editors_of_one_lock_lose_nothing_of_each_other(tmp_path):
    """Forty changes from eight threads, each a read, a change and a write."""
    path = tmp_path / "tunekit.lock"

    def add(i: int) -> None:
        for j in range(5):
            name = f"e{i}-{j}"
            edit_lock(
                path, lambda lock, n=name: lock._replace(environments=lock.environments | {n: Environment(n, {})})
            )

    threads = [threading.Thread(target=add, args=(i,)) for i in range(8)]
    for t in threads:
        t.start()
    for t in threads:
        t.join()
    assert len(load_lock(path).environments) == 40
    assert edit_lock(path, lambda lock: lock)[1] is False
    assert [p.name for p in tmp_path.iterdir()] == ["tunekit.lock"] and empty_lock() != load_lock(path)
