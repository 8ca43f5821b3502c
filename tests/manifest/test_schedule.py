"""What of optimizer, warm-up and schedule does not go together is said where it is declared."""

from pathlib import Path

import pytest

from tunekit.errors import Problem
from tunekit.manifest.project import load

RUN = """
[project]
name = "p"
[model.m]
config = {{ model_type = "llama" }}
tokenizer = "tokenizer:t"
[run.x]
method = "sft"
model = "model:m"
data = ["dataset:d"]
{}
"""


def problems(root: Path, text: str) -> list[Problem]:
    (root / "tunekit.toml").write_text(RUN.format(text))
    found: list[Problem] = []
    load(root, [], found)
    return found


@pytest.mark.parametrize(
    ("text", "key", "said"),
    [
        ('optimizer = "adamw_torh"', "optimizer", "adamw_torch"),
        ('optimizer = "sgd"\nadam_beta1 = 0.8', "adam_beta1", "leave it out"),
        ('optimizer = "schedule_free_adamw"', "lr_scheduler", '"constant"'),
        ('optimizer = "schedule_free_radam"\nlr_scheduler = "constant"\nwarmup_steps = 3', "warmup_steps", ""),
        ("warmup_ratio = 0.1\nwarmup_steps = 3", "warmup_steps", "take one"),
        ('lr_scheduler = "constant"\nwarmup_steps = 3', "warmup_steps", "constant_with_warmup"),
        ('lr_scheduler = "constant"\nwarmup_ratio = 0.1', "warmup_ratio", "constant_with_warmup"),
        ("min_lr_ratio = 0.1", "min_lr_ratio", "cosine_with_min_lr"),
        ("decay_ratio = 0.1", "decay_ratio", "warmup_stable_decay"),
        ('lr_scheduler = "warmup_stable_decay"\nwarmup_ratio = 0.6\ndecay_ratio = 0.6', "decay_ratio", "at most 1"),
        ("optimizer_args = { lr = 1.0 }", "optimizer_args", "learning_rate"),
        ("learning_rates = { 'x' = 0.0 }", "learning_rates", "Peak"),
    ],
)
def test_faults(tmp_path: Path, text: str, key: str, said: str) -> None:
    (problem,) = problems(tmp_path, text)
    assert problem.key == key and said in problem.hint, problem


@pytest.mark.parametrize(
    "text",
    [
        'optimizer = "schedule_free_adamw"\nlr_scheduler = "constant"\nwarmup_steps = 3',
        'lr_scheduler = "warmup_stable_decay"\nwarmup_steps = 3\nmin_lr_ratio = 0.1',
        "optimizer = 'came'\noptimizer_args = { eps = [1e-30, 1e-16] }",
    ],
)
def test_what_goes_together(tmp_path: Path, text: str) -> None:
    assert problems(tmp_path, text) == []
