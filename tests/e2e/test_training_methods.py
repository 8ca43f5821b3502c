"""Every method through the command line, in one project and one build."""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Any

import pytest

sys.path.insert(0, str(Path(__file__).parent))
from tiny_project import Project

pytestmark = pytest.mark.torch
COMMON = "batch_size = 4\nmax_steps = 2\nlearning_rate = 1e-3\ncpus = 1\n"
PAIRS = 'data = ["dataset:pairs"]\neval_data = ["dataset:pairs"]\n'
DATA = """
[dataset.judged]
source = "path:judged.jsonl"
format = "unpaired"

[dataset.pairs]
source = "path:pairs.jsonl"
format = "preference"
[dataset.steps]
source = "path:steps.jsonl"
format = "stepwise"
"""
RUNS = {
    "pretrain": 'method = "pretrain"\nmodel = "model:m"\ndata = ["dataset:text"]\nsequence_len = 32\n',
    "pretrain-stream": 'method = "pretrain"\nmodel = "model:m"\ndata = ["dataset:text"]\nsequence_len = 32\n'
    "streaming = true\nbuffer_tokens = 256\n",
    "distill": 'method = "distill"\nmodel = "model:m"\nadapter = "adapter:lora"\nteacher = "run:pretrain"\n'
    'data = ["dataset:chat"]\nlmbda = 0.5\nmax_completion_length = 4\n',
    "dpo": 'method = "dpo"\nmodel = "model:m"\nadapter = "adapter:lora"\n' + PAIRS,
    "ipo": 'method = "ipo"\nmodel = "model:m"\nbeta = 0.5\n' + PAIRS,
    "kto": 'method = "kto"\nmodel = "model:m"\nadapter = "adapter:lora"\n'
    'data = ["dataset:judged"]\neval_data = ["dataset:judged"]\n',
    "orpo": 'method = "orpo"\nmodel = "model:m"\nadapter = "adapter:lora"\n' + PAIRS,
    "simpo": 'method = "simpo"\nmodel = "model:m"\n' + PAIRS,
    "reward": 'method = "reward"\nmodel = "model:m"\n' + PAIRS,
    "prm": 'method = "prm"\nmodel = "model:m"\ndata = ["dataset:steps"]\neval_data = ["dataset:steps"]\n',
    "prm-lora": 'method = "prm"\nmodel = "run:sft"\nadapter = "adapter:lora"\ndata = ["dataset:steps"]\n',
}
ADAPTER = {"adapter_config.json", "adapter_model.safetensors"}
WHOLE = {
    "config.json",
    "generation_config.json",
    "model.safetensors",
    "tokenizer.json",
    "tokenizer_config.json",
    "chat_template.jinja",
}
JUDGE = WHOLE - {"generation_config.json"}  # it generates nothing
FILES = {
    name: ADAPTER if "adapter:" in text else JUDGE if name in ("reward", "prm") else WHOLE
    for name, text in RUNS.items()
}


@pytest.fixture(scope="module")
def built(tmp_path_factory: pytest.TempPathFactory) -> Project:
    base = tmp_path_factory.mktemp("methods")
    project = Project(base / "project", base / "store")
    steps = [
        {"prompt": f"add {i}", "completions": ["the king", "a rose"], "labels": [True, i % 2 == 0]} for i in range(12)
    ]
    (project.root / "steps.jsonl").write_text("".join(json.dumps(row) + "\n" for row in steps))
    verdicts = [{"prompt": f"count {i}: ", "completion": f"{i + i % 2}", "label": i % 2 == 0} for i in range(12)]
    (project.root / "judged.jsonl").write_text("".join(json.dumps(row) + "\n" for row in verdicts))
    rows = [{"prompt": f"count {i}: ", "chosen": f"{i + 1}", "rejected": "the rose"} for i in range(12)]
    (project.root / "pairs.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    with (project.root / "tunekit.toml").open("a") as file:
        file.write(DATA)
        for name, text in RUNS.items():
            file.write(f"\n[run.{name}]\n{text}{COMMON}")
    project.build(*(f"run:{name}" for name in RUNS))
    return project


@pytest.mark.parametrize("name", RUNS)
def test_it_builds(built: Project, name: str) -> None:
    shown = json.loads(built.run("show", "--json", f"run:{name}"))
    record: dict[str, Any] = shown["record"]
    assert record["kind"] == "run." + name.partition("-")[0]
    assert record["effective"]["summary"]["steps"] == 2
    assert len([point for point in shown["metrics"] if "loss" in point]) == 2
    assert {p.name for p in Path(built.run("path", f"run:{name}").strip()).iterdir()} == FILES[name]


def test_a_second_build_does_nothing(built: Project) -> None:
    assert built.build(*(f"run:{name}" for name in RUNS)) == []


def test_a_sweep_makes_its_reference_once(built: Project) -> None:
    """Another beta runs the run, and nothing before it; dpo and ipo stand on one reference."""
    shown = [json.loads(built.run("show", "--json", f"run:{name}#reference")) for name in ("dpo", "ipo")]
    assert shown[0]["record"]["key"] == shown[1]["record"]["key"]
    built.edit("tunekit.toml", "beta = 0.5", "beta = 0.2")
    assert built.build("run:ipo") == ["run:ipo"]
