"""Every recipe of the shipped library is a whole declaration of a run, and says when it is not for you."""

from pathlib import Path

import pytest

RECIPES = sorted((Path(__file__).parents[2] / "recipes").glob("sft-*.toml"))
PROJECT = """
[dataset.d]
source = "path:rows.jsonl"
format = "completion"

[tokenizer.t]
data = ["dataset:d"]
vocab_size = 300

[model.m]
tokenizer = "tokenizer:t"
config = { model_type = "llama", hidden_size = 8 }

[run.x]
recipe = "%s"
model = "model:m"
data = ["dataset:d"]

[run.on]
recipe = "%s"
model = "run:x"
data = ["dataset:d"]
"""


@pytest.mark.parametrize("recipe", RECIPES, ids=lambda path: path.stem)
def test_recipe(project, recipe):
    project.rows("rows.jsonl", [{"text": "a"}])
    project.manifest(PROJECT % (recipe.stem, recipe.stem))
    assert project.problems() == []
    spec = project.planner().graph.actions["run:x"].spec
    assert ("adapter" in spec) == ("full" not in recipe.stem)
    assert (spec.get("adapter", {}).get("quantize") == "nf4") == ("qlora" in recipe.stem)
    assert 1e-5 <= spec.get("learning_rate", 2e-5) <= (3e-4 if "adapter" in spec else 5e-5)
    lines = [line for line in recipe.read_text().splitlines() if line.startswith("#")]
    assert any("Not for:" in line for line in lines) and all(len(line) <= 120 for line in lines)
    # the recipe's adapter does not count on top of one: it is continued
    assert "adapter" not in project.planner().graph.actions["run:on"].spec
