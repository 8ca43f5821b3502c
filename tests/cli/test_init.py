"""`tunekit init --recipe`: a project whose run of that recipe is declared right; tests/e2e builds some of them."""

import json
from pathlib import Path

import pytest

from tunekit.cli import started
from tunekit.cli.main import run as main


@pytest.mark.parametrize("recipe", started.recipes())
def test_every_recipe_makes_a_project_that_plans(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], recipe: str
) -> None:
    monkeypatch.setenv("TUNEKIT_STORE", str(tmp_path / "store"))
    monkeypatch.setenv("TUNEKIT_CONFIG", str(tmp_path / "config"))
    assert main(["init", "--recipe", recipe, str(tmp_path / "p")]) == 0
    label = capsys.readouterr().out.split()[-1]
    assert main(["lock", "-C", str(tmp_path / "p")]) == 0
    capsys.readouterr()
    assert main(["plan", "-C", str(tmp_path / "p"), label, "--json"]) == 0
    actions = {a["label"]: a for a in json.loads(capsys.readouterr().out)["actions"]}
    method = recipe.split("-")[0]
    assert actions[label]["kind"] == f"run.{method}"
    assert all(a["state"] == "stale" or a["label"].endswith("#fetch") for a in actions.values())


def test_an_unknown_recipe(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["init", "--recipe", "dpo-lroa", str(tmp_path / "p")]) == 2
    said = capsys.readouterr().err
    assert "unknown-recipe" in said and "dpo-lora" in said and not (tmp_path / "p").exists()
