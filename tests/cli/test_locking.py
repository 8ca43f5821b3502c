"""What the lock holds beside sources: recipes, profiles; and what `--locked` and `--check` say of it."""

from __future__ import annotations

import json
import re
import sys
import venv
from pathlib import Path

import pytest

from tunekit.lockfile import load_lock, recipe_of
from tunekit.manifest import recipe

TOML = """\
[project]
name = "p"

[dataset.a]
source = "path:a.jsonl"
format = "prompt"

[tokenizer.t]
source = "path:t"

[model.m]
source = "path:m"
tokenizer = "tokenizer:t"

[run.g]
recipe = "tiny"
model = "model:m"
data = ["dataset:a"]
rewards = [{ fn = "ops.py:score" }]
"""
RECIPE = 'method = "grpo"\nbeta = 0.0\nmax_steps = 2\nadapter = { method = "lora", r = 4 }  # words\n'


@pytest.fixture
def recipes(fresh, tmp_path, monkeypatch):
    """A project on a recipe of the shipped library, which is a folder that a test may upgrade."""
    library = tmp_path / "library"
    library.mkdir()
    (library / "tiny.toml").write_text(RECIPE)
    (library / "unused.toml").write_text('method = "sft"\n')
    monkeypatch.setattr(recipe, "shipped_folder", lambda: library)
    (fresh / "tunekit.toml").write_text(TOML)
    (fresh / "a.jsonl").write_text('{"prompt": "hi"}\n')
    for folder, file in (("t", "tokenizer.json"), ("m", "config.json")):
        (fresh / folder).mkdir()
        (fresh / folder / file).write_text("{}")
    (fresh / "ops.py").write_text("def score(prompts, completions, **more):\n    return [0.0 for _ in completions]\n")
    return library


class TestRecipes:
    def test_those_in_use_are_locked_by_field(self, fresh, call, recipes):
        assert call(fresh, "plan").code == 0, "the project is a whole one"
        assert "recipe tiny" in call(fresh, "lock", "--check").err
        assert "locking recipe tiny: new" in call(fresh, "lock").err
        found = load_lock(fresh / "tunekit.lock").recipes
        assert found == {"tiny": recipe_of({"method": "grpo", "beta": 0.0, "max_steps": 2,
                                            "adapter": {"method": "lora", "r": 4}})}  # fmt: skip
        assert 'adapter = { method = "lora", r = 4 }\n' in (fresh / "tunekit.lock").read_text()
        assert call(fresh, "lock", "--check").code == 0

    def test_an_upgrade_is_refused_by_field_and_seen_in_the_diff(self, fresh, call, recipes, tmp_path):
        assert call(fresh, "lock").code == 0
        (tmp_path / "old.lock").write_bytes((fresh / "tunekit.lock").read_bytes())
        (recipes / "tiny.toml").write_text(RECIPE.replace("0.0", "0.04").replace("r = 4", "r = 8").replace("words", ""))
        for words in (["lock", "--check"], ["build", "--locked"], ["build", "--locked", "--dry-run"]):
            said = call(fresh, *words)
            assert said.code == 3 and "recipe tiny: adapter.r: 4 → 8, beta: 0.0 → 0.04" in said.err, said
        body = json.loads(call(fresh, "lock", "--check", "--json").out)
        assert body["ok"] is False and body["recipes"] == ["recipe tiny: adapter.r: 4 → 8, beta: 0.0 → 0.04"]
        assert "locking recipe tiny: adapter.r: 4 → 8" in call(fresh, "lock").err
        said = call(fresh, "lock", "diff", str(tmp_path / "old.lock"))
        assert said.out.splitlines()[1:] == ["  ~ recipe tiny: adapter.r: 4 → 8, beta: 0.0 → 0.04"]
        (recipes / "tiny.toml").write_text("# other words, other order\n" + "\n".join(
            reversed(RECIPE.replace("0.0", "0.04").replace("r = 4", "r = 8").splitlines())))  # fmt: skip
        assert call(fresh, "lock", "--check").code == 0, "structures count, not text"

    def test_a_recipe_of_the_project_wins_and_one_out_of_use_goes(self, fresh, call, recipes):
        assert call(fresh, "lock").code == 0
        (fresh / "recipes").mkdir()
        (fresh / "recipes" / "tiny.toml").write_text(RECIPE.replace("max_steps = 2", "max_steps = 3"))
        assert "recipe tiny: max_steps: 2 → 3" in call(fresh, "lock", "--check").err
        toml = fresh / "tunekit.toml"
        toml.write_text(toml.read_text().replace('recipe = "tiny"', 'method = "grpo"\nmax_steps = 1'))
        assert "pins recipe tiny, which nothing names" in call(fresh, "lock", "--check").err
        assert call(fresh, "lock").code == 0 and load_lock(fresh / "tunekit.lock").recipes == {}

    def test_a_build_writes_what_is_new_and_a_frozen_one_nothing(self, fresh, call, recipes):
        assert call(fresh, "build", "--frozen", "dataset:a").code == 0
        assert not (fresh / "tunekit.lock").exists()
        assert "locking recipe tiny: new" in call(fresh, "build", "dataset:a").err
        before = (fresh / "tunekit.lock").read_bytes()
        (recipes / "tiny.toml").write_text(RECIPE.replace("0.0", "0.04"))
        assert call(fresh, "build", "--frozen", "dataset:a").code == 0
        assert call(fresh, "build", "dataset:a", "--set", "run:g.recipe=unused", "--dry-run").code in (0, 2)
        assert (fresh / "tunekit.lock").read_bytes() == before
        assert "locking recipe tiny: beta: 0.0 → 0.04" in call(fresh, "build", "dataset:a").err
        assert call(fresh, "build", "--frozen", "--locked", "dataset:a").code == 2


@pytest.fixture(scope="module")
def other_python(tmp_path_factory):
    """A virtual environment with two distributions, made by their metadata alone."""
    folder = tmp_path_factory.mktemp("venv") / "v"
    venv.create(folder, with_pip=False)
    (site,) = folder.glob("lib/python3*/site-packages")
    for name, version in (("vllm", "0.20.1+cu128"), ("Liger_Kernel", "0.6.0"), ("left-pad", "1.0")):
        info = site / f"{name}-{version}.dist-info"
        info.mkdir()
        (info / "METADATA").write_text(f"Metadata-Version: 2.1\nName: {name}\nVersion: {version}\n")
    return folder


class TestProfiles:
    @pytest.fixture
    def declared(self, fresh, other_python):
        (fresh / ".venv-vllm").symlink_to(other_python)
        with (fresh / "tunekit.toml").open("a") as file:
            file.write('\n[environment.vllm]\npython = ".venv-vllm/bin/python"\n')
        return fresh

    def test_are_locked_by_what_lies_beside_the_interpreter(self, declared, call):
        assert "does not pin the environment, environment vllm" in call(declared, "lock", "--check").err
        assert call(declared, "lock").code == 0
        found = load_lock(declared / "tunekit.lock").environments["vllm"]
        assert found.packages == {"vllm": "0.20.1", "liger-kernel": "0.6.0"}, "public versions of the stack"
        assert found.python == ".".join(map(str, sys.version_info[:3]))
        out = call(declared, "env", "--constraints", "--profile", "vllm").out
        assert out.endswith("liger-kernel==0.6.0\nvllm==0.20.1\n")
        assert call(declared, "lock", "--check").code == 0

    def test_the_interpreter_is_never_run(self, fresh, call, tmp_path):
        ran = tmp_path / "ran"
        (fresh / "bin").mkdir()
        (fresh / "bin" / "python").write_text(f"#!/bin/sh\ntouch {ran}\n")
        (fresh / "bin" / "python").chmod(0o755)
        (fresh / "lib" / "python3.12" / "site-packages").mkdir(parents=True)
        with (fresh / "tunekit.toml").open("a") as file:
            file.write('\n[environment.vllm]\npython = "bin/python"\n')
        for words in (["lock"], ["lock", "--check"], ["status"], ["plan"], ["env", "--profile", "vllm"]):
            assert call(fresh, *words).code == 0
        assert not ran.exists() and load_lock(fresh / "tunekit.lock").environments["vllm"].python == "3.12"

    def test_drift_is_told_by_profile(self, declared, call):
        assert call(declared, "lock").code == 0
        assert "environment" not in call(declared, "status", "--all").out
        lock = declared / "tunekit.lock"
        lock.write_text(lock.read_text().replace("0.20.1", "0.21.0"))
        assert "environment vllm: vllm 0.20.1 (tunekit.lock: 0.21.0)" in call(declared, "status").out
        drift = call(declared, "status", "--json").json["drift"]
        assert drift == [{"package": "vllm", "locked": "0.21.0", "installed": "0.20.1", "profile": "vllm"}]
        assert call(declared, "build", "--locked", "--trust").code == 0, "nothing that runs runs in it"
        (declared / ".venv-vllm").unlink()
        out = call(declared, "status").out
        assert "environment vllm: python - (" in out and "environment vllm: vllm - (" in out
        assert call(declared, "lock").code == 0, "a machine without it keeps what is locked"
        assert "0.21.0" in lock.read_text()

    def test_drift_is_told_where_all_is_fresh_too(self, declared, call, monkeypatch):
        monkeypatch.setattr("tunekit.plan.state._RACY", 0)  # a file may be trusted at once: no test waits for 2 s
        assert call(declared, "lock").code == call(declared, "build", "--trust").code == 0
        assert call(declared, "status").out == "fresh: 1 target and all that it needs\n"
        lock = declared / "tunekit.lock"
        lock.write_text(lock.read_text().replace("0.20.1", "0.21.0"))
        for _ in range(2):
            assert "environment vllm: vllm 0.20.1" in call(declared, "status").out
            assert "nothing to do" in call(declared, "build", "--trust").out
        lock.write_text(lock.read_text().replace("0.21.0", "0.20.1"))
        assert "nothing to do" in call(declared, "build", "--trust").out
        assert call(declared, "status").out == "fresh: 1 target and all that it needs\n"

    def test_one_that_is_not_there_and_one_that_is_gone(self, declared, call):
        (declared / ".venv-vllm").unlink()
        said = call(declared, "lock")
        assert said.code == 3 and "error[profile-missing]" in said.err and ".venv-vllm/bin/python" in said.err
        assert not (declared / "tunekit.lock").exists()

    def test_another_minor_version_of_python_is_drift_another_patch_is_not(self, fresh, call):
        assert call(fresh, "lock").code == 0
        lock = fresh / "tunekit.lock"
        text = lock.read_text()
        minor = ".".join(map(str, sys.version_info[:2]))
        lock.write_text(re.sub(r'python = ".*"', f'python = "{minor}.99"', text))
        assert call(fresh, "status", "--json").json["drift"] == []
        lock.write_text(re.sub(r'python = ".*"', 'python = "3.2.1"', text))
        assert [d["package"] for d in call(fresh, "status", "--json").json["drift"]] == ["python"]
        said = call(fresh, "build", "--locked", "--trust")
        assert said.code == 3 and "python" in said.err and "(locked: 3.2.1)" in said.err

    def test_constraints_from_a_clone_in_a_bare_interpreter(self, declared, call, other_python):
        """A real virtual environment without any of tunekit's dependencies, and no installation."""
        import os
        import subprocess

        import tunekit

        assert call(declared, "lock").code == 0
        clone = str(Path(tunekit.__file__).parents[1])
        command = [str(other_python / "bin" / "python"), "-m", "tunekit", "env", "--constraints"]
        env = {k: v for k, v in os.environ.items() if not k.startswith("PYTHON")}
        done = subprocess.run([*command, "-C", str(declared)], cwd=clone, env=env, capture_output=True, text=True)
        assert done.returncode == 0, done.stderr
        assert (
            f"\nmsgspec=={load_lock(declared / 'tunekit.lock').environments['default'].packages['msgspec']}\n"
            in done.stdout
        )
