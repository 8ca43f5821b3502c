"""A matrix on the command line: its label is all of its points where a list is fine, and an error elsewhere."""

from __future__ import annotations

from pathlib import Path

import pytest

TOML = """
[project]
name = "sweep"
[dataset.a]
source = "path:a.jsonl"
[dataset.b]
from = ["dataset:a"]
matrix = { limit = [1, 2], packages = [["rich"], ["rich"]] }
"""


@pytest.fixture
def sweep(session_env: Path, tmp_path: Path) -> Path:
    (tmp_path / "tunekit.toml").write_text(TOML)
    (tmp_path / "a.jsonl").write_text('{"text": "swept"}\n{"text": "floor"}\n')
    return tmp_path


POINTS = [f"dataset:b.limit-{k}.packages-{n}" for k in (1, 2) for n in (0, 1)]


def test_build_status_show_diff(sweep: Path, call) -> None:
    planned = call(sweep, "plan", "dataset:b").out
    assert all(point in planned for point in POINTS)
    done = call(sweep, "build", "dataset:b")
    assert done.code == 0, done.err
    rows = call(sweep, "status", "--json").json["targets"]
    assert {row["label"]: row["state"] for row in rows}.items() >= dict.fromkeys(POINTS, "fresh").items()
    shown = call(sweep, "show", "dataset:b")
    assert shown.code == 0 and [line.split()[0] for line in shown.out.splitlines()] == [
        "dataset:b", *(point.removeprefix("dataset:b") for point in POINTS),
    ]  # fmt: skip
    assert "limit" in call(sweep, "diff", POINTS[0], POINTS[2]).out
    one = call(sweep, "show", POINTS[2])
    assert one.code == 0 and POINTS[2] in one.out
    assert call(sweep, "build", POINTS[3]).code == 0
    for verb in (["path", "dataset:b"], ["diff", "dataset:b"], ["show", "dataset:b", "--json"], ["why", "dataset:b"]):
        refused = call(sweep, *verb)
        assert refused.code == 2 and "matrix" in refused.err and POINTS[1] in refused.err, verb
    # Points of equal keys ran once: `packages` has another number, but the same value.
    history = [
        line for line in (sweep / ".tunekit/history.jsonl").read_text().splitlines() if '"dataset:b.limit' in line
    ]
    assert len(history) == 4 and len({line.partition('"attempt"')[2].split('"')[1] for line in history}) == 2


def test_set_and_override(sweep: Path, call) -> None:
    said = call(sweep, "plan", "--set", "dataset:b.matrix={ limit = [5] }")
    assert "dataset:b.limit-5" in said.out, said.err
    twice = call(sweep, "plan", "--set", "dataset:b.limit=7")
    assert twice.code == 2 and "in the table and in its matrix" in twice.err
