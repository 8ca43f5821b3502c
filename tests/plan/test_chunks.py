"""What a plan knows of an action's chunks before it runs is what the build then finds."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

TOML = """
[dataset.chat]
source = "path:chat.jsonl"
format = "chat"
[dataset.few]
source = "path:few.jsonl"
format = "chat"
[tokenizer.t]
data = ["dataset:few"]
vocab_size = 330
chat_template = "chatml"
[model.m]
config = { model_type = "llama" }
tokenizer = "tokenizer:t"
[eval.loss]
model = "model:m"
data = ["dataset:chat"]
[eval.same]
model = "model:m"
data = ["dataset:chat"]
sequence_len = 64
"""
STEP, SAME = "eval:loss#tokens", "eval:same#tokens"


def rows(count: int) -> list[dict[str, Any]]:
    return [
        {"messages": [{"role": "user", "content": f"{i}?"}, {"role": "assistant", "content": f"{i}"}]}
        for i in range(count)
    ]


def planned(project: Any, label: str = STEP) -> dict[str, Any]:
    done = project.run("plan", label, "--json")
    assert done.code == 0, done.err
    body = json.loads(done.out)
    return next(a for a in body["actions"] if a["label"] == label)


def recorded(project: Any) -> dict[str, Any]:
    done = project.run("show", STEP, "--json")
    assert done.code == 0, done.err
    return json.loads(done.out)["record"]["parts"]


@pytest.fixture
def built(project: Any) -> Any:
    """Tokens of 10,000 rows: some chunks of about 2,000."""
    project.rows("chat.jsonl", rows(10_000))
    project.rows("few.jsonl", rows(40))
    project.manifest(TOML)
    assert STEP in project.build(STEP).ran
    return project


def test_a_plan_says_how_many_chunks_changed_once_the_rows_are_there(built: Any) -> None:
    total = recorded(built)["total"]
    assert total > 2
    assert planned(built)["chunks"] is None, "nothing is to be done"
    edited = rows(10_000)
    edited[5000]["messages"][1]["content"] = "another answer"
    built.rows("chat.jsonl", edited)
    assert planned(built)["chunks"] is None, "the rows are not in the store yet"
    built.build("dataset:chat")
    found = planned(built)
    assert found["chunks"]["total"] == total and 0 < found["chunks"]["changed"] <= 2
    said = f"{STEP}  (dataset:chat changed; {found['chunks']['changed']} of {total} chunks changed)"
    assert said in built.run("plan", STEP).out
    built.build(STEP)
    assert (recorded(built)["total"], recorded(built)["made"]) == (total, found["chunks"]["changed"])


def test_parts_of_another_step_count_and_lost_ones_do_not(built: Any) -> None:
    total = recorded(built)["total"]
    assert not planned(built, SAME)["run"], "another `sequence_len`, the same tokens"
    before = 'data = ["dataset:chat"]\nsequence_len'
    built.manifest(TOML.replace(before, before.replace("]", ', "dataset:few"]')))
    found = planned(built, SAME)
    assert found["chunks"] == {"total": total + 1, "changed": 1}, "only the chunk of the 40 rows is new"
    for file in Path(built.store).glob("parts/*/*"):
        file.unlink()
    assert planned(built, SAME)["chunks"] == {"total": total + 1, "changed": total + 1}
    assert "chunks" not in built.run("plan", SAME).out
