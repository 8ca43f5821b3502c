"""What judges texts is no policy, and where its new head may be put."""

from __future__ import annotations

import pytest

TOML = """
[dataset.pairs]
source = "path:a.jsonl"
format = "preference"
[dataset.steps]
source = "path:a.jsonl"
format = "stepwise"
[dataset.text]
source = "path:a.jsonl"
format = "completion"
[dataset.prompts]
source = "path:a.jsonl"
format = "prompt"

[tokenizer.t]
data = ["dataset:text"]
[model.m]
config = { model_type = "llama" }
tokenizer = "tokenizer:t"
[adapter.lora]
r = 4

[run.sft]
method = "sft"
model = "model:m"
adapter = "adapter:lora"
data = ["dataset:text"]

[run.judge]
method = "reward"
model = "model:m"
adapter = "adapter:lora"
data = ["dataset:pairs"]
"""
JUDGES = {
    "reward": ("dataset:pairs", "a reward"),
    "prm": ("dataset:steps", "whether each step is right"),
}


@pytest.fixture
def declared(project):
    project.write("a.jsonl", "{}\n")

    def declare(more: str, method: str = "reward"):
        data = JUDGES[method][0]
        project.manifest(TOML.replace('"reward"', f'"{method}"').replace("dataset:pairs", data) + more)
        return project

    return declare


@pytest.mark.parametrize("method", JUDGES)
@pytest.mark.parametrize(
    ("more", "key"),
    [
        ('[run.x]\nmethod = "sft"\nmodel = "run:judge"\ndata = ["dataset:text"]\n', "model"),
        ('[run.x]\nmethod = "sft"\nmodel = "run:judge@best"\ndata = ["dataset:text"]\n', "model"),
        ('[merge.x]\ninputs = ["run:judge"]\n', "inputs"),
        ('[eval.x]\nmodel = "run:judge"\ndata = ["dataset:text"]\n', "model"),
        (
            '[run.x]\nmethod = "distill"\nmodel = "model:m"\nteacher = "run:judge"\ndata = ["dataset:text"]\n',
            "teacher",
        ),
    ],
)
def test_it_is_no_policy(declared, method, more, key):
    problems = declared(more, method).problems()
    assert {(p.slug, p.key) for p in problems} == {("not-a-policy", key)}
    assert f"says {JUDGES[method][1]} of a text" in problems[0].message and "trained from" in problems[0].hint


@pytest.mark.parametrize("method", JUDGES)
def test_what_stands_on_a_refused_one_has_no_problem_of_its_own(declared, method):
    """It is told once a target, of the target that names it."""
    more = '[run.x]\nmethod = "sft"\nmodel = "run:judge"\ndata = ["dataset:text"]\n[merge.y]\ninputs = ["run:x"]\n'
    assert {p.table for p in declared(more, method).problems()} == {"run.x"}


@pytest.mark.parametrize("method", JUDGES)
def test_a_head_needs_room(declared, method):
    """An adapter that was made without one has none; a new adapter on the merged policy has."""
    start = f'[run.x]\nmethod = "{method}"\nmodel = "run:sft"\ndata = ["{JUDGES[method][0]}"]\n'
    (problem,) = declared(start, method).problems()
    assert (problem.slug, problem.key) == ("no-head", "model") and "merged first" in problem.hint
    project = declared(start + 'adapter = "adapter:lora"\n', method)
    assert project.problems() == []
    actions = project.planner().graph.actions
    assert [edge.action for edge in actions["run:x"].inputs["base"]] == ["run:x#base"]
