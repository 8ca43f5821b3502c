"""A streamed run through the real command line: nothing is copied or tokenized ahead, and SIGKILL leaves no trace."""

from __future__ import annotations

import json
import os
import signal
import sys
from pathlib import Path

import pytest

sys.path.insert(0, str(Path(__file__).parent))
from tiny_project import LINE, Project, children_of

pytestmark = pytest.mark.torch
TARGETS = """
[dataset.corpus]
source = "path:corpus"
format = "completion"

[run.stream]
method = "sft"
model = "model:m"
data = ["dataset:corpus", { dataset = "dataset:chat", weight = 0.2 }]
streaming = true
packing = true
overlong = "split"
buffer_tokens = 900
sequence_len = 64
batch_size = 2
max_steps = 40
checkpoint_steps = 5
learning_rate = 1e-3
cpus = 1
"""


def make(base: Path) -> Project:
    project = Project(base / "project", base / "store")
    project.edit("tunekit.toml", "[tokenizer.t]", TARGETS + "\n[tokenizer.t]")
    for n in range(3):
        file = project.root / "corpus" / f"{n}.jsonl"
        file.parent.mkdir(exist_ok=True)
        file.write_text("".join(json.dumps({"text": f"{n} {LINE} {i} " + "rose " * (i % 9)}) + "\n" for i in range(30)))
    return project


@pytest.fixture(scope="module")
def built(tmp_path_factory: pytest.TempPathFactory) -> Project:
    project = make(tmp_path_factory.mktemp("straight"))
    executed = project.build("run:stream")
    assert {"run:stream", "dataset:chat", "model:m"} <= set(executed)
    assert not [x for x in executed if x.startswith("dataset:corpus") or x == "run:stream#tokens"]
    return project


def test_files_are_read_where_they_lie(built: Project) -> None:
    """Their bytes are in the key and not in the store; the graph shows what the run reads."""
    text = (built.root / "corpus" / "1.jsonl").read_bytes()[:60]
    assert not [p for p in built.store.rglob("*") if p.is_file() and text in p.read_bytes()]
    graph = json.loads(built.run("graph", "--json", "run:stream"))
    assert "dataset:corpus#files" in json.dumps(graph) and "dataset:corpus#fetch" not in json.dumps(graph)
    why = json.loads(built.run("why", "--json", "run:stream"))
    (told, chat) = why["preimage"]["fields"]["data"]
    assert told["files"]["format"] == "completion" and chat["weight"] == 0.2 and "files" not in chat


def test_a_second_build_does_nothing(built: Project) -> None:
    assert built.run("build", "run:stream").startswith("nothing to do")
    assert built.run("status", "run:stream")
    assert "dataset:corpus" in built.run("show", "run:stream")
    built.run("gc", "--yes")
    assert built.run("build", "run:stream").startswith("nothing to do")
    built.run("verify")


def test_killed_and_continued_is_the_straight_run(built: Project, tmp_path: Path) -> None:
    project = make(tmp_path)
    process = project.start("build", "--json", "run:stream")
    assert process.stdout is not None
    for line in process.stdout:
        event = json.loads(line)
        if event.get("action") == "run:stream" and event["type"] == "progress" and event["done"] >= 17:
            for pid in children_of(project):
                if pid != str(process.pid):
                    os.kill(int(pid), signal.SIGKILL)
            process.kill()
            break
    process.communicate()
    assert project.build("run:stream") == ["run:stream"]
    record, straight = (json.loads(p.run("show", "--json", "run:stream"))["record"] for p in (project, built))
    assert record["effective"]["resumed_from_step"] >= 15
    assert record["outputs"] == straight["outputs"] and record["metrics"] == straight["metrics"]
    assert record["effective"]["ledger"] == straight["effective"]["ledger"]


def test_a_changed_corpus_is_another_run(built: Project) -> None:
    file = built.root / "corpus" / "2.jsonl"
    before = file.read_text()
    file.write_text(before.replace("rose", "sword", 1))
    plan = built.run("build", "--dry-run", "run:stream")
    assert "run:stream  (dataset:corpus#files, dataset:chat changed)" in plan
    file.write_text(before)
    assert built.build("run:stream") == []


def test_without_max_steps(built: Project) -> None:
    built.edit("tunekit.toml", "max_steps = 40\n", "")
    process = built.start("plan")
    _, err = process.communicate()
    built.edit("tunekit.toml", "checkpoint_steps = 5\n", "max_steps = 40\ncheckpoint_steps = 5\n")
    assert process.returncode == 2 and "missing-key" in err and "max_steps" in err and "tunekit.toml" in err
