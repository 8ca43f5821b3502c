"""Tiny bases that adapters are tried on."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import tiny_stack as tiny

from tunekit.steps.model.run import run as make_model

_SMALL = {"hidden_size": 64, "intermediate_size": 128, "num_hidden_layers": 2, "num_attention_heads": 4}
MODELS: dict[str, dict[str, Any]] = {
    "llama": tiny.LLAMA | _SMALL,
    "tied": tiny.LLAMA | _SMALL | {"tie_word_embeddings": True},
    "gpt2": {"model_type": "gpt2", "n_embd": 64, "n_layer": 1, "n_head": 2, "n_positions": 64},
    # experts in one tensor in memory, one by one in its files
    "mixtral": tiny.LLAMA
    | _SMALL
    | {"model_type": "mixtral", "intermediate_size": 96, "num_local_experts": 4, "num_experts_per_tok": 2},
    # experts in one tensor in its files, too, and the other way round
    "gpt_oss": tiny.LLAMA
    | _SMALL
    | {
        "model_type": "gpt_oss",
        "intermediate_size": 96,
        "num_local_experts": 4,
        "num_experts_per_tok": 2,
        "head_dim": 16,
        "layer_types": ["full_attention", "full_attention"],
    },
}


def make_models(root: Path, *names: str) -> dict[str, str]:
    """Directories of models by name."""
    tokenizer = str(tiny.write_tokenizer(root / "tokenizer"))
    for name in names:
        spec = {"config": MODELS[name], "tokenizer": "tokenizer:t"}
        make_model(tiny.request(root / name, "model", spec, tokenizer=tokenizer), tiny.Recorder())
    return {name: str(root / name / "out" / "main") for name in names}
