"""docs/reproduce.md, command by command: a result is published, and reproduced from clones in a new environment."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

import tunekit
from tunekit.lockfile import load_lock

ROOT = Path(tunekit.__file__).parents[1]
PAGE = (Path(__file__).parents[2] / "docs" / "reproduce.md").read_text(encoding="utf-8")
TOML = """\
[project]
name = "short"

[dataset.text]
source = "path:text.jsonl"
format = "completion"
map = "words.py:loud"

[tokenizer.t]
data = ["dataset:text"]
vocab_size = 280

[model.m]
config = { model_type = "llama", hidden_size = 16, intermediate_size = 32, num_hidden_layers = 1, \
num_attention_heads = 2, num_key_value_heads = 2, max_position_embeddings = 64 }
tokenizer = "tokenizer:t"

[run.sft]
method = "sft"
model = "model:m"
data = ["dataset:text"]
sequence_len = 32
batch_size = 4
max_steps = 3
cpus = 1
"""


def block(name: str) -> str:
    """The commands between a page's markers."""
    text = PAGE.split(f"<!-- {name} -->\n```bash\n")[1]
    return text.split("```\n<!-- end -->")[0]


def shell(commands: str, cwd: Path, env: dict[str, str]) -> str:
    script = ["bash", "-euo", "pipefail", "-c", commands]
    done = subprocess.run(script, cwd=cwd, env=env, capture_output=True, text=True, timeout=600)
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


@pytest.fixture
def env(tmp_path: Path) -> dict[str, str]:
    """A user of his own. What is installed here is what pip finds installed in every environment: it downloads nothing,
    and has to find the constraints met."""
    site = next(p for p in sys.path if p.endswith("site-packages"))
    bins = tmp_path / "bin"
    bins.mkdir()
    (bins / "tunekit").write_text(
        f'#!/bin/sh\nPYTHONPATH="{ROOT}:$PYTHONPATH" exec "{sys.executable}" -m tunekit "$@"\n'
    )
    (bins / "tunekit").chmod(0o755)
    kept = {k: v for k, v in os.environ.items() if k in ("LANG", "TMPDIR", "TRITON_INTERPRET", "OMP_NUM_THREADS")}
    who = {f"GIT_{role}_{what}": "t@example.org" for role in ("AUTHOR", "COMMITTER") for what in ("NAME", "EMAIL")}
    pip = {"PIP_NO_INDEX": "1", "PIP_NO_BUILD_ISOLATION": "false", "PIP_DISABLE_PIP_VERSION_CHECK": "1"}
    return kept | who | pip | {
        "PATH": f"{bins}:{Path(sys.executable).parent}:{os.environ['PATH']}", "HOME": str(tmp_path), "PYTHONPATH": site,
        "PIP_CONFIG_FILE": os.devnull, "TUNEKIT_CONFIG": str(tmp_path / "config"),
    }  # fmt: skip


def repository(folder: Path, env: dict[str, str]) -> Path:
    shell("git init -q && git add --all && git commit -q -m start", folder, env)
    return folder


@pytest.mark.torch
def test_a_published_training_is_reproduced_from_clones(tmp_path, env):
    experiment = tmp_path / "published"
    experiment.mkdir()
    (experiment / "tunekit.toml").write_text(TOML)
    (experiment / "words.py").write_text("def loud(row):\n    return {'text': row['text'].upper()}\n")
    (experiment / "text.jsonl").write_text("".join(f'{{"text": "line {i} of a short text"}}\n' for i in range(12)))
    (experiment / ".gitignore").write_text(".tunekit/\n")
    repository(experiment, env)
    shell(block("publish"), experiment, env | {"TUNEKIT_STORE": str(tmp_path / "store-of-author")})
    (result,) = load_lock(experiment / "tunekit.lock").results
    assert result.label == "run:sft" and result.metrics["steps"] == 3 and result.determinism == "cpu-bitwise"

    source = tmp_path / "tunekit-of-author"
    for name in ("tunekit", "kernels", "recipes"):
        shutil.copytree(ROOT / name, source / name, ignore=shutil.ignore_patterns("__pycache__"))
    for name in ("pyproject.toml", "README.md", "LICENSE"):
        shutil.copy(ROOT / name, source / name)
    repository(source, env)
    place = tmp_path / "reader"
    place.mkdir()
    reader = env | {"TUNEKIT": str(source), "EXPERIMENT": str(experiment), "TUNEKIT_STORE": str(tmp_path / "another")}
    out = shell(block("reproduce"), place, reader)
    assert out.endswith("the same bytes\n") and "reproduced  run:sft  attempt " in out
    assert (place / "venv/bin/tunekit").is_file() and "torch==" in (place / "constraints.txt").read_text()
    assert shell("git status --porcelain", place / "experiment", reader) == "", "nothing of the clone was changed"
