"""An adapter that took a part of its base (PiSSA, OLoRA), as a plain LoRA on the base as it was.

The base W lost s·B₀A₀ to the adapter when it was made, so after training the model is W - s·B₀A₀ + s·BA. That is W
and the update s·[B, -B₀]·[A; A₀], of twice the rank: what PEFT's `path_initial_model_for_weight_conversion` makes of
an initial adapter on a disk. Here the initial adapter is in memory.
"""

from __future__ import annotations

import math
from typing import Any

import torch


def as_plain_lora(
    tensors: dict[str, torch.Tensor], config: dict[str, Any], start: dict[str, torch.Tensor]
) -> tuple[dict[str, torch.Tensor], dict[str, Any]]:
    """`tensors` and `config` as PEFT stores them; `start`: the initial values by parameter name (with `.default`)."""
    out = dict(tensors)
    initial = {name.replace(".default.", "."): value for name, value in start.items()}
    for name, value in tensors.items():
        if ".lora_A." in name:
            out[name] = torch.cat([value, initial[name].to(value.dtype)], dim=0)
        elif ".lora_B." in name:
            out[name] = torch.cat([value, -initial[name].to(value.dtype)], dim=1)
    # alpha / r (of rsLoRA: alpha / sqrt(r)) stays what it was.
    factor = math.sqrt(2) if config["use_rslora"] else 2
    return out, config | {
        "init_lora_weights": True,
        "r": 2 * config["r"],
        "lora_alpha": config["lora_alpha"] * factor,
        "rank_pattern": {name: 2 * rank for name, rank in config["rank_pattern"].items()},
        "alpha_pattern": {name: alpha * factor for name, alpha in config["alpha_pattern"].items()},
    }
