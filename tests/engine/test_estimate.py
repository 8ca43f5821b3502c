"""Estimates against what torch, Transformers and PEFT make."""

import json
import sys
from pathlib import Path
from typing import Any

import pytest

sys.path.insert(0, str(Path(__file__).parent))
import tiny_stack as tiny
import torch

from tunekit.plan.estimate.shapes import FAMILIES, from_config, header_of
from tunekit.plan.estimate.trained import of_adapter
from tunekit.steps.adapter.spec import Adapter

pytestmark = pytest.mark.torch
SMALL = {"hidden_size": 32, "intermediate_size": 48, "num_hidden_layers": 2, "num_attention_heads": 4, "vocab_size": 70}


def model_of(config: dict[str, Any]) -> Any:
    from transformers import AutoConfig, AutoModelForCausalLM

    values = {k: v for k, v in config.items() if k != "model_type"}
    with torch.device("meta"):
        return AutoModelForCausalLM.from_config(AutoConfig.for_model(config["model_type"], **values))


def shapes(model: Any) -> dict[str, tuple[int, ...]]:
    return {name: tuple(p.shape) for name, p in model.named_parameters()}  # a tied head is named once


@pytest.mark.parametrize("family", sorted(FAMILIES))
@pytest.mark.parametrize(
    "more",
    [{}, {"num_key_value_heads": 2, "tie_word_embeddings": True}, {"attention_bias": True, "head_dim": 6},
     {"mlp_bias": True, "num_key_value_heads": 4}],
)  # fmt: skip
def test_tensors_of_new_models(family: str, more: dict[str, Any]) -> None:
    """Names and shapes, also where the family's own defaults fill in; a key that a family does not know is dropped."""
    from transformers import AutoConfig

    known = set(AutoConfig.for_model(family).to_dict())
    config = {"model_type": family, **SMALL, **{k: v for k, v in more.items() if k in known or k == "head_dim"}}
    found = from_config(config)
    assert dict(found.tensors) == shapes(model_of(config))


@pytest.mark.parametrize("family", sorted(FAMILIES))
def test_defaults_of_families(family: str) -> None:
    """What Transformers takes where a configuration says nothing but how many layers it has."""
    config = {"model_type": family, "num_hidden_layers": 1, "vocab_size": 10, "tie_word_embeddings": False}
    assert dict(from_config(config).tensors) == shapes(model_of(config))


@pytest.mark.parametrize(
    "adapter",
    [
        {}, {"r": 3, "target_modules": ["q_proj", "mlp.up_proj"]}, {"target_modules": r".*layers\.1\..*(k|v)_proj"},
        {"r": 4, "use_dora": True}, {"bias": "all"}, {"bias": "lora_only", "target_modules": ["q_proj", "k_proj"]},
        {"modules_to_save": ["lm_head"], "target_modules": ["v_proj"]}, {"target_modules": ["embed_tokens", "o_proj"]},
        {"rank_pattern": {"q_proj": 5}, "r": 2}, {"layers_to_transform": [1], "target_modules": ["q_proj"]},
    ],
)  # fmt: skip
def test_trained_parameters(adapter: dict[str, Any]) -> None:
    from tunekit.engine.adapters import with_new_adapter

    config = {"model_type": "llama", **SMALL, "attention_bias": True}
    from transformers import AutoConfig, AutoModelForCausalLM

    values = {k: v for k, v in config.items() if k != "model_type"}
    model = AutoModelForCausalLM.from_config(AutoConfig.for_model("llama", **values))
    adapted = with_new_adapter(model, Adapter(**adapter), 0, "unused")
    ours = sum(p.numel() for p in adapted.parameters() if p.requires_grad)
    assert of_adapter(from_config(config).tensors, adapter) == ours


def test_a_header_is_that_of_the_file(tmp_path: Path) -> None:
    model = model_of({"model_type": "llama", **SMALL}).to_empty(device="cpu")
    model.save_pretrained(tmp_path)
    with open(tmp_path / "model.safetensors", "rb") as file:
        assert header_of(file) == shapes(model)
    assert json.loads((tmp_path / "config.json").read_text())["vocab_size"] == 70
    assert tiny.LLAMA
