"""How many cores an action gets."""

from __future__ import annotations

from types import SimpleNamespace
from typing import cast

import pytest

from tunekit.build.attempt import Attempt
from tunekit.build.builder import Builder
from tunekit.build.frontier import Frontier
from tunekit.build.options import Options
from tunekit.plan.project import open_planner
from tunekit.store.store import Store

TOML = """
[project]
name = "p"
[dataset.a]
source = "path:a.jsonl"
format = "completion"
[tokenizer.t]
data = ["dataset:a"]
vocab_size = 300
[model.m]
tokenizer = "tokenizer:t"
config = { model_type = "llama", hidden_size = 8, num_hidden_layers = 1, num_attention_heads = 1 }
[run.wide]
method = "sft"
model = "model:m"
data = ["dataset:a"]
[run.narrow]
method = "sft"
model = "model:m"
data = ["dataset:a"]
cpus = 1
"""


@pytest.fixture
def builder(project):
    project.write("a.jsonl", '{"text": "a"}\n')
    project.manifest(TOML)
    planner = open_planner(project.root, Store(project.store).ensure())
    made = Builder(planner, ["run:wide"], Options(), lambda event: None)
    made.cores = 8
    return made


def busy(builder: Builder, cpus: int, waiting: int) -> None:
    builder.running = {"x": cast(Attempt, SimpleNamespace(cpus=cpus))} if cpus else {}
    builder.frontier = Frontier([f"waits-{i}" for i in range(waiting)], lambda label: [])


@pytest.mark.parametrize(
    ("label", "used", "waiting", "cpus"),
    [
        ("run:narrow", 7, 0, 1), ("run:narrow", 8, 0, 0),
        ("run:wide", 0, 3, 8), ("run:wide", 1, 0, 0),  # all cores, or it waits
        ("run:wide#tokens", 0, 0, 8), ("run:wide#tokens", 3, 0, 5), ("run:wide#tokens", 8, 0, 0),
        ("run:wide#tokens", 3, 2, 3), ("run:wide#tokens", 3, 9, 1),  # one is left for each that could start, too
    ],
)  # fmt: skip
def test_cores_of_an_action(builder, label, used, waiting, cpus):
    busy(builder, used, waiting)
    assert max(builder._grant(label), 0) == cpus
