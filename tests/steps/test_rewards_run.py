"""The smoke step: a table of scores whose bytes depend on rows and rewards alone; a random reward is refused."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from tunekit.data.rowset import write_dataset
from tunekit.errors import ActionError
from tunekit.protocol import Events, Input, Request
from tunekit.steps.rewards.run import run

CODE = """
import itertools, random

def accuracy(completions, answer, **_):
    return [float(c[0]["content"] == a) for c, a in zip(completions, answer)]

def shortness(completions, **_):
    return [None if len(c[0]["content"]) > 12 else -0.5 for c in completions]

def dice(completions, **_):
    return [random.random() for _ in completions]

random.seed(0)
calls = itertools.count()

def counts(completions, **_):
    return [float(next(calls)) for _ in completions]
"""
ROWS = [{"prompt": f"What is {i} + {i}?", "answer": str(2 * i)} for i in range(9)]


def request_for(
    folder: Path, *fns: str, datasets: list[list[dict]] | None = None, chunk_rows: int | None = None
) -> Request:
    folder.mkdir(parents=True)
    (folder / "code").mkdir()
    (folder / "code" / "rewards.py").write_text(CODE)
    inputs = []
    for i, rows in enumerate(datasets or [ROWS]):
        write_dataset(folder / f"data{i}", rows, "prompt", chunk_rows)
        inputs.append(Input(str(folder / f"data{i}"), "sha256:" + "0" * 64, "dataset", f"dataset:d{i}"))
    (folder / "out").mkdir()
    spec = {"rewards": [{"fn": f"rewards.py:{fn}"} for fn in fns], "rows": 2, "timeout": 10.0}
    return Request(
        "run:x#rewards", "sha256:" + "0" * 64, "rewards", spec, {"data": inputs}, {}, str(folder / "code"),
        str(folder / "staging"), str(folder / "out"), "", {"cpus": 1, "gpus": [], "memory": 0}, 0, {},
    )  # fmt: skip


def run_in(folder: Path, *fns: str, datasets: list[list[dict]] | None = None, chunk_rows: int | None = None) -> bytes:
    request = request_for(folder, *fns, datasets=datasets, chunk_rows=chunk_rows)
    assert run(request, Events("run:x#rewards", -1)) == {"main": "main"}
    return (folder / "out" / "main" / "rewards.json").read_bytes()


def test_table(tmp_path: Path) -> None:
    report = json.loads(run_in(tmp_path / "a", "accuracy", "shortness"))
    assert report["rewards"] == [
        {"fn": "rewards.py:accuracy", "weight": 1.0},
        {"fn": "rewards.py:shortness", "weight": 1.0},
    ]
    assert report["table"] == [
        {"data": 0, "row": 0, "completion": "own", "scores": [1.0, -0.5]},
        {"data": 0, "row": 0, "completion": "junk", "scores": [0.0, -0.5]},
        {"data": 0, "row": 1, "completion": "own", "scores": [1.0, -0.5]},
        {"data": 0, "row": 1, "completion": "junk", "scores": [0.0, -0.5]},
    ]


def test_two_folders_give_the_same_bytes(tmp_path: Path) -> None:
    one, two = (run_in(tmp_path / name, "accuracy", "shortness") for name in ("one", "another-folder"))
    assert one == two


def test_rows_of_two_chunks(tmp_path: Path) -> None:
    one, two = (run_in(tmp_path / str(n), "accuracy", "shortness", chunk_rows=n) for n in (None, 1))
    assert one == two


def test_rows_of_several_datasets_with_other_columns(tmp_path: Path) -> None:
    report = json.loads(run_in(tmp_path / "a", "shortness", datasets=[ROWS, [{"prompt": "Say it."}]]))
    assert [(t["data"], t["completion"]) for t in report["table"]][-2:] == [(1, "plain"), (1, "junk")]
    assert report["table"][-2]["scores"] == [None]


@pytest.mark.parametrize("fn", ["dice", "counts"])
def test_a_reward_that_varies_is_refused(tmp_path: Path, fn: str) -> None:
    with pytest.raises(ActionError, match="for the same text") as found:
        run_in(tmp_path / "a", "accuracy", fn)
    assert found.value.slug == "reward-not-deterministic"
