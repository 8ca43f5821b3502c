"""A policy, prompts and rewards small enough that a GRPO run takes a second or two."""

from __future__ import annotations

import json
import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

os.environ.setdefault("HF_HUB_OFFLINE", "1")
os.environ.setdefault("HF_HUB_DISABLE_TELEMETRY", "1")

import pytest

from tunekit.data.rowset import write_dataset
from tunekit.protocol import Events, Input, Request

PAD, EOS, END = "<|pad|>", "<|eos|>", "<|im_end|>"
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


class Recorder(Events):
    """Events that stay in memory."""

    def __init__(self) -> None:
        super().__init__("run:test", -1)
        self.seen: list[dict[str, Any]] = []

    def emit(self, type: str, **data: Any) -> None:
        self.seen.append(json.loads(json.dumps({"type": type, **data})))

    @property
    def settings(self) -> dict[str, Any]:
        return {k: v for e in self.seen if e["type"] == "effective" for k, v in e["settings"].items()}

    @property
    def metrics(self) -> list[tuple[int, dict[str, float]]]:
        return [(e["step"], e["figures"]) for e in self.seen if e["type"] == "metric"]


def write_tokenizer(directory: Path, template: str = "") -> None:
    from tokenizers import Tokenizer, decoders, models, pre_tokenizers

    specials = [PAD, EOS, END]
    vocabulary = {t: i for i, t in enumerate(specials + sorted(pre_tokenizers.ByteLevel.alphabet()))}
    tokenizer = Tokenizer(models.BPE(vocab=vocabulary, merges=[]))
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    tokenizer.decoder = decoders.ByteLevel()
    tokenizer.add_special_tokens(specials)
    tokenizer.save(str(directory / "tokenizer.json"))
    config = {"tokenizer_class": "PreTrainedTokenizerFast", "pad_token": PAD, "eos_token": EOS}
    (directory / "tokenizer_config.json").write_text(json.dumps(config))
    if template:
        (directory / "chat_template.jinja").write_text(template)


@pytest.fixture(scope="session")
def base(tmp_path_factory: pytest.TempPathFactory) -> str:
    """A model artifact: Llama of hidden size 32 and two layers, byte-level tokenizer without a template."""
    import torch
    from transformers import LlamaConfig, LlamaForCausalLM

    torch.set_num_threads(1)
    torch.manual_seed(7)
    directory = tmp_path_factory.mktemp("base")
    config = LlamaConfig(
        vocab_size=259, hidden_size=32, intermediate_size=64, num_hidden_layers=2, num_attention_heads=4,
        num_key_value_heads=2, max_position_embeddings=64, pad_token_id=0, eos_token_id=[1, 2], bos_token_id=None,
    )  # fmt: skip
    LlamaForCausalLM(config).save_pretrained(directory)
    write_tokenizer(directory)
    return str(directory)


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
        for folder in ("staging", "out", "code"):
            (root / folder).mkdir(parents=True, exist_ok=True)
        (root / "code" / "rewards.py").write_text(REWARDS)
        if not (root / "data").exists():
            write_dataset(root / "data", rows or ROWS, "prompt")
        spec = SPEC | spec | ({"adapter": adapter_spec} if adapter_spec else {})
        spec = {k: v for k, v in spec.items() if v is not None}
        unknown = "sha256:" + "1" * 64
        inputs = {
            "base": [Input(base, unknown, "model", "model:tiny")],
            "data": [Input(str(root / "data"), unknown, "dataset", "dataset:d")],
        }
        if adapter:
            inputs["adapter"] = [Input(adapter, unknown, "run", "run:before")]
        return Request(
            "run:test", "sha256:" + "0" * 64, "run.grpo", spec, inputs, {}, str(root / "code"),
            str(root / "staging"), str(root / "out"), str(root), {"cpus": 1, "gpus": [], "memory": 0}, 42,
            {"base_label": "model:tiny"},
        )  # fmt: skip

    return make


@pytest.fixture
def tree() -> Callable[[str | Path], dict[str, bytes]]:
    """`tree(directory)`: the bytes of every file by path."""

    def read(directory: str | Path) -> dict[str, bytes]:
        root = Path(directory)
        return {str(p.relative_to(root)): p.read_bytes() for p in sorted(root.rglob("*")) if p.is_file()}

    return read


@pytest.fixture
def pen() -> Recorder:
    return Recorder()
