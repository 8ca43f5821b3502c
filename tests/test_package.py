"""The wheel: what is in it, and that it works where nothing but its dependencies is installed."""

from __future__ import annotations

import importlib.util
import os
import re
import subprocess
import sys
import tomllib
import zipfile
from pathlib import Path

import pytest

from tunekit.errors import Problem
from tunekit.manifest.project import load
from tunekit.manifest.recipe import load_recipes

ROOT = Path(__file__).parents[1]
EXAMPLES = sorted(path.parent for path in ROOT.glob("recipes/examples/*/tunekit.toml"))


@pytest.fixture(scope="module")
def wheel(tmp_path_factory: pytest.TempPathFactory) -> Path:
    out = tmp_path_factory.mktemp("wheel")
    command = [sys.executable, "-m", "pip", "wheel", "-q", "--no-deps", "--no-index", "--no-build-isolation"]
    done = subprocess.run([*command, "-w", str(out), str(ROOT)], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr + "\nhatchling is in the extra `test`"
    (found,) = out.glob("*.whl")
    return found


def test_what_is_inside(wheel: Path) -> None:
    names = set(zipfile.ZipFile(wheel).namelist())
    source = [p.relative_to(ROOT) for p in (ROOT / "tunekit").rglob("*") if p.is_file()]
    wanted = {str(p) for p in source if "__pycache__" not in p.parts}
    wanted |= {f"tunekit/_recipes/{p.name}" for p in (ROOT / "recipes").glob("*.toml")}
    wanted |= {f"tunekit_kernels/{p.name}" for p in (ROOT / "kernels/tunekit_kernels").glob("*.py")}
    assert wanted <= names, sorted(wanted - names)
    for part in ("cli/template/tunekit.toml", "cli/topics/start.md", "data/templates/chatml.jinja", "py.typed"):
        assert f"tunekit/{part}" in names
    assert any(re.fullmatch(r"tunekit-[^/]+\.dist-info/licenses/LICENSE", name) for name in names)
    tops = {name.split("/")[0] for name in names if ".dist-info/" not in name}
    assert tops == {"tunekit", "tunekit_kernels"}, "no tests, no targets, no kernels/ as a package"
    assert not [name for name in names if "__pycache__" in name or name.endswith(".pyc")]


def test_it_works_where_it_is_installed(wheel: Path, tmp_path: Path) -> None:
    venv, home = tmp_path / "venv", tmp_path / "home"
    home.mkdir()
    env = {"PATH": os.environ["PATH"], "HOME": str(home), "TUNEKIT_STORE": str(tmp_path / "store")}
    env["TUNEKIT_CONFIG"] = str(tmp_path / "config")

    def call(*words: str | Path) -> str:
        done = subprocess.run([str(w) for w in words], capture_output=True, text=True, cwd=home, env=env)
        assert done.returncode == 0, f"{words}: {done.stdout}{done.stderr}"
        return done.stdout

    call(sys.executable, "-m", "venv", "--without-pip", venv)
    python, tunekit = venv / "bin/python", venv / "bin/tunekit"
    pip = (sys.executable, "-m", "pip", "--python", python)
    call(*pip, "install", "-q", "--no-deps", "--no-index", wheel)
    site = call(python, "-c", "import sysconfig; print(sysconfig.get_path('purelib'))").strip()
    # the dependencies of this environment; its own .pth files (an editable tunekit) are not read through this one
    paths = {path for path in sys.path if path.endswith("-packages")}
    Path(site, "dependencies.pth").write_text("\n".join(sorted(paths)) + "\n")
    ours = "import tunekit, tunekit_kernels as k; print(tunekit.__file__); print(k.__file__)"
    for file in call(python, "-c", ours).split():
        assert Path(file).is_relative_to(venv)
    assert call(tunekit, "--version").startswith("tunekit ")
    call(tunekit, "init", "p")
    planned = call(tunekit, "plan", "-C", "p")
    assert "run:sft" in planned and "eval:heldout" in planned
    assert "start" in call(tunekit, "docs", "--list")
    assert '"$schema"' in call(tunekit, "schema")
    find = (
        "from tunekit.manifest.recipe import shipped_folder; print(sorted(p.stem for p in shipped_folder().glob('*')))"
    )
    assert "grpo-lora" in call(python, "-c", find)


@pytest.mark.parametrize("root", [ROOT, *EXAMPLES], ids=lambda p: p.name)
def test_every_project_here_parses(root: Path) -> None:
    problems: list[Problem] = []
    manifest = load(root, [], problems)
    assert not problems and manifest.targets
    if root == ROOT:
        assert {*root.glob("targets/*.toml"), *root.glob("recipes/*.toml")} <= {*manifest.files}


def test_every_project_here_makes_a_graph(make_project) -> None:  # type: ignore[no-untyped-def]
    """Labels, code paths and kinds too, not only keys and types."""
    import shutil

    for root in EXAMPLES:
        project = make_project(root.name)
        shutil.copytree(root, project.root, dirs_exist_ok=True)
        done = project.run("graph")
        assert done.code == 0, done.err


def test_the_template_parses(tmp_path: Path) -> None:
    text = (ROOT / "tunekit/cli/template/tunekit.toml").read_text().format(name="p")
    (tmp_path / "tunekit.toml").write_text(text)
    problems: list[Problem] = []
    assert load(tmp_path, [], problems).targets and not problems


def test_recipes_parse() -> None:
    problems: list[Problem] = []
    assert load_recipes(ROOT, problems) and not problems


def test_the_reward_of_the_example() -> None:
    spec = importlib.util.spec_from_file_location("gsm8k_rewards", ROOT / "recipes/examples/gsm8k-qwen/rewards.py")
    assert spec and spec.loader
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    row = module.to_prompt({"question": "How many?", "answer": "3 * 400 = 1200\n#### 1,200"})
    assert row["answer"] == "1200" and row["prompt"].startswith("How many?")
    said = ["so #### 1200", "#### $1,200.00", "#### 12", "1200", "#### 7\n#### 1200"]
    scores = module.exact_answer([[{"role": "assistant", "content": s}] for s in said], answer=["1200"] * 5, prompts=[])
    assert scores == [1.0, 1.0, 0.0, 0.0, 1.0]


def test_pyproject_names_the_whole_stack() -> None:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]

    def names(lines: list[str]) -> set[str]:
        return {m[0] for line in lines if (m := re.match(r"[A-Za-z0-9_.-]+", line))}

    base = {"torch", "transformers", "trl", "peft", "accelerate", "datasets", "msgspec", "tomlkit", "rich", "xxhash"}
    assert base <= names(project["dependencies"])
    extras = {name: names(lines) for name, lines in project["optional-dependencies"].items()}
    assert {"deepspeed", "vllm", "kernels", "test", "dev"} <= set(extras)
    assert {"triton", "liger-kernel"} <= extras["kernels"]
    assert "deepspeed" in extras["deepspeed"] and "vllm" in extras["vllm"]
    assert {"pytest", "hypothesis", "hatchling"} <= extras["test"]
    assert {"tunekit", "ruff", "mypy"} <= extras["dev"]


def test_the_core_tests_need_all_but_the_training_stack() -> None:
    body = tomllib.loads((ROOT / "pyproject.toml").read_text())
    lines = {*body["project"]["dependencies"], *body["project"]["optional-dependencies"]["test"]}
    stack = ("torch>", "transformers>", "peft>", "accelerate>", "datasets>", "triton>", "gguf>", "bitsandbytes>")
    stack += ("schedulefree>", "torch-optimi>", "came-pytorch>", "deepspeed>", "tensorboard>")  # of trainings
    groups = body["dependency-groups"]
    assert {*groups["core-test"], *groups["core-test-files"]} == {x for x in lines if not x.startswith(stack)}
    assert [x.startswith("trl>") for x in groups["core-test-files"]] == [True]
