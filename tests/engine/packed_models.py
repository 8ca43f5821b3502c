"""Tiny models of many architectures with random weights, and documents to pack."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).parent))
import numpy as np
import tiny_stack as tiny  # noqa: F401  (offline, one thread)
import torch
from transformers import AutoConfig, AutoModelForCausalLM

from tunekit.engine.loading import Loaded

SIZES = {
    "vocab_size": 101,
    "hidden_size": 32,
    "intermediate_size": 64,
    "num_hidden_layers": 2,
    "num_attention_heads": 4,
    "num_key_value_heads": 2,
    "head_dim": 8,
    "max_position_embeddings": 256,
    "pad_token_id": 0,
    "bos_token_id": 1,
    "eos_token_id": 2,
}
WINDOW = {"sliding_window": 6}
SCALED = WINDOW | {"query_pre_attn_scalar": 8}
GPT = {"n_embd": 32, "n_layer": 2, "n_head": 4}
EXPERTS = {"num_experts": 4, "num_experts_per_tok": 2, "moe_intermediate_size": 16}

# Rotary, absolute and no positions; sliding windows and chunks shorter than a document; mixtures of experts.
HONOURED: dict[str, dict[str, Any]] = {
    "llama": {},
    "qwen2": {},
    "qwen3": {},
    "mistral": WINDOW,
    "gemma2": SCALED,
    "gemma3_text": SCALED,
    "gpt2": GPT | {"n_positions": 256},
    "gpt_neox": {},
    "smollm3": {},
    "qwen3_moe": EXPERTS | {"decoder_sparse_step": 1},
    "llama4_text": {"attention_chunk_size": 8, "num_local_experts": 2, "intermediate_size_mlp": 64},
}
# Recurrent and convolutional layers, alibi, positions of their own; gpt-oss: see engine/isolation.py.
REFUSED: dict[str, dict[str, Any]] = {
    "bloom": {"n_layer": 2, "n_head": 4},
    "mpt": {"d_model": 32, "n_heads": 4, "n_layers": 2},
    "opt": {"ffn_dim": 64, "word_embed_proj_dim": 32},
    "mamba": {"state_size": 8},
    "lfm2": {"layer_types": ["conv", "full_attention"]},
    "qwen3_next": EXPERTS
    | {
        "layer_types": ["linear_attention", "full_attention"],
        "linear_num_value_heads": 2,
        "linear_num_key_heads": 2,
        "linear_key_head_dim": 8,
        "linear_value_head_dim": 8,
        "shared_expert_intermediate_size": 16,
    },
    "gpt_oss": WINDOW | {"num_local_experts": 4, "num_experts_per_tok": 2},
}
SINGLE_ONLY = {"qwen3_moe"}  # torch's grouped matrix product has no double precision
EAGER_ONLY = {"gemma2"}  # Transformers has no sdpa for it


def model_of(name: str, attn: str = "eager", dtype: torch.dtype = torch.float32) -> Any:
    torch.manual_seed(0)
    config = AutoConfig.for_model(name, **SIZES | HONOURED.get(name, {}) | REFUSED.get(name, {}))
    model = AutoModelForCausalLM.from_config(config, attn_implementation=attn)
    return model.to(dtype).eval()


def loaded(model: Any, attn: str = "eager") -> Loaded:
    return Loaded(model, None, attn, str(model.dtype).removeprefix("torch."), False)  # type: ignore[arg-type]


def example(*lengths: int, seed: int = 0) -> dict[str, Any]:
    """A sequence of documents as the dataset gives it; about a third of the tokens carry no label."""
    generator = np.random.default_rng(seed)
    ids = generator.integers(3, 100, sum(lengths))
    labels = np.where(generator.random(sum(lengths)) < 0.3, -100, ids)
    return {"input_ids": ids, "labels": labels, "seq_lengths": list(lengths)}


def documents_in(found: dict[str, Any]) -> list[tuple[np.ndarray, np.ndarray]]:
    edges = np.cumsum(found["seq_lengths"])[:-1]
    return list(zip(np.split(found["input_ids"], edges), np.split(found["labels"], edges), strict=True))
