"""Which rows `pretrain` takes, and what it hands to `sft`."""

from __future__ import annotations

import pytest

TOML = """
[dataset.a]
source = "path:a.jsonl"
FORMAT

[tokenizer.t]
data = ["dataset:text"]

[dataset.text]
source = "path:a.jsonl"
format = "completion"

[model.m]
config = { model_type = "llama" }
tokenizer = "tokenizer:t"

[run.x]
method = "pretrain"
model = "model:m"
data = ["dataset:text", ITEM]
"""


@pytest.fixture
def declared(project):
    project.write("a.jsonl", "{}\n")

    def declare(format: str, item: str = '"dataset:a"', more: str = ""):
        project.manifest(TOML.replace("FORMAT", format).replace("ITEM", item) + more)
        return project

    return declare


@pytest.mark.parametrize("format", ['format = "completion"', 'format = "tokens"'])
def test_it_takes_texts(declared, format):
    action = declared(format).planner().graph.actions["run:x"]
    assert action.kind == "run.pretrain" and action.inputs["tokens"][0].action == "run:x#tokens"


@pytest.mark.parametrize(
    ("format", "words"),
    [
        ('format = "chat"', ("`chat` rows; pretraining needs `completion` or `tokens`", 'train_on = "all"')),
        ('format = "prompt"', ("`prompt` rows", "")),
        ('format = "auto"', ("does not say its format", 'set format = "completion" in [dataset.a]')),
    ],
)
def test_it_refuses_what_else_there_is(declared, format, words):
    first = declared(format).problems()[0]
    assert first.slug == "wrong-format" and words[0] in first.message and words[1] in first.hint


def test_an_item_that_says_what_is_trained_takes_conversations(declared):
    project = declared('format = "chat"', '{ dataset = "dataset:a", train_on = "all" }')
    assert project.problems() == []
    tokens = project.planner().graph.actions["run:x#tokens"]
    assert [item.get("train_on", "assistant") for item in tokens.spec["items"]] == ["assistant", "all"]


def test_ways_against_padding_exclude_each_other(declared):
    (fault,) = declared('format = "completion"', more="group_by_length = true\n").problems()
    assert fault.key == "group_by_length" and "packing" in fault.message
    assert declared('format = "completion"', more="group_by_length = true\npacking = false\n").problems() == []
