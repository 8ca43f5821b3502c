"""A policy, prompts and rewards small enough that a GRPO run takes a second or two."""

from __future__ import annotations

import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

sys.path.insert(0, str(Path(__file__).parents[2] / "engine"))  # for tiny_stack, which imports torch when used

from tunekit.data.rowset import write_dataset
from tunekit.protocol import Request

REWARDS = """
def lower(completions, **_):
    return [sum(c.islower() for c in x[0]["content"]) / 8 for x in completions]

def short(completions, limit, **_):
    return [None if n is None else float(len(x[0]["content"]) <= n) for x, n in zip(completions, limit)]

def same(completions, **_):
    return [1.0] * len(completions)

def slow(completions, **_):
    import time
    time.sleep(30)
"""
WORDS = ["abc", "def", "ghi", "jkl", "mno", "pqr", "stu"]
ROWS = [{"prompt": f"say {word}", "limit": i % 9} for i, word in enumerate(WORDS)]
SPEC: dict[str, Any] = {
    "method": "grpo",
    "model": "model:tiny",
    "data": ["dataset:d"],
    "rewards": [{"fn": "rewards.py:lower"}, {"fn": "rewards.py:short", "weight": 0.5}],
    "batch_size": 8,
    "num_generations": 4,
    "max_completion_length": 6,
    "max_prompt_length": 32,
    "max_steps": 4,
    "learning_rate": 0.01,
    "lr_scheduler": "constant",
    "checkpoint_steps": 2,
}


@pytest.fixture(scope="session")
def base(tmp_path_factory: pytest.TempPathFactory) -> str:
    """A model artifact: Llama of hidden size 32 and two layers, byte-level tokenizer without a template."""
    import torch
    from transformers import LlamaConfig, LlamaForCausalLM

    torch.manual_seed(7)
    directory = tmp_path_factory.mktemp("base")
    config = LlamaConfig(
        vocab_size=259, hidden_size=32, intermediate_size=64, num_hidden_layers=2, num_attention_heads=4,
        num_key_value_heads=2, max_position_embeddings=64, pad_token_id=0, eos_token_id=[1, 2], bos_token_id=None,
    )  # fmt: skip
    LlamaForCausalLM(config).save_pretrained(directory)
    import tiny_stack as tiny

    return str(tiny.write_tokenizer(directory))


@pytest.fixture
def ask(tmp_path: Path, base: str) -> Callable[..., Request]:
    """Build the request of a run; the same `name` finds its staging again."""

    def make(
        name: str = "a",
        adapter: str = "",
        rows: list[dict[str, Any]] | None = None,
        adapter_spec: dict[str, Any] | None = None,
        **spec: Any,
    ) -> Request:
        root = tmp_path / name
        (root / "code").mkdir(parents=True, exist_ok=True)
        (root / "code" / "rewards.py").write_text(REWARDS)
        if not (root / "data").exists():
            write_dataset(root / "data", rows or ROWS, "prompt", 3)  # several chunks: all of them are read
        spec = SPEC | spec | ({"adapter": adapter_spec} if adapter_spec else {})
        inputs = {"base": base, "data": str(root / "data")} | ({"adapter": adapter} if adapter else {})
        given = {k: v for k, v in spec.items() if v is not None}
        import tiny_stack as tiny

        return tiny.request(root, "run.grpo", given, **inputs)._replace(code_root=str(root / "code"))

    return make


@pytest.fixture
def tree() -> Callable[[str | Path], dict[str, bytes]]:
    """`tree(directory)`: the bytes of every file by path."""
    import tiny_stack as tiny

    return tiny.tree


@pytest.fixture
def pen() -> Any:
    import tiny_stack as tiny

    return tiny.Recorder()
