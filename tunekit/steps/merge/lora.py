"""LoRA into its base, tensor by tensor: no more than one weight and its update is in memory."""

from __future__ import annotations

import json
import math
from pathlib import Path
from typing import Any, NamedTuple

import torch

from tunekit.engine import weights
from tunekit.engine.weights import Slot
from tunekit.errors import ActionError

_PREFIX = "base_model.model."
# (A, B) endings of a linear layer's and of an embedding's update.
_PAIRS = ((".lora_A.weight", ".lora_B.weight"), (".lora_embedding_A", ".lora_embedding_B"))
# Features of PEFT that this file does not do; PEFT's own merge does.
_BEYOND = (
    "use_dora",
    "rank_pattern",
    "alpha_pattern",
    "target_parameters",
    "trainable_token_indices",
    "layer_replication",
    "lora_bias",
    "megatron_config",
)


class Update(NamedTuple):
    """What an adapter does to one tensor: `a` and `b` of a product, or, alone, `a` as its replacement."""

    a: Slot
    b: Slot | None = None
    transposed: bool = False


class LoraMerge(NamedTuple):
    """A merge that can be streamed. `origin`: the base tensor that each tensor of the result starts from."""

    origin: dict[str, Slot]
    updates: dict[str, Update]
    scaling: float
    untied: bool

    def tensor(self, slot: Slot) -> torch.Tensor:
        """base + scaling * B @ A in float32 at least, in the dtype of `slot`; the order of PEFT's own merge."""
        update = self.updates.get(slot.name)
        if update is None:
            return weights.read(self.origin[slot.name]).to(slot.dtype)
        a = weights.read(update.a)
        if update.b is None:
            return a.to(slot.dtype)
        delta = weights.read(update.b).float() @ a.float()
        delta = (delta.T if update.transposed else delta) * self.scaling
        return (weights.read(self.origin[slot.name]).float() + delta).to(slot.dtype)

    def slots(self, dtype: torch.dtype | None) -> list[Slot]:
        """The tensors of the result; `dtype` None keeps the base's."""
        return [
            slot._replace(name=name, dtype=dtype if dtype and slot.dtype.is_floating_point else slot.dtype)
            for name, slot in self.origin.items()
        ]


def not_streamable(config: dict[str, Any]) -> str:
    """Why this adapter needs PEFT's own merge, or nothing."""
    if config.get("peft_type") != "LORA":
        return f"peft_type {config.get('peft_type')}"
    return ", ".join(name for name in _BEYOND if config.get(name))


def plan(base: str, adapter: str) -> LoraMerge:
    """Match every tensor of the adapter to one of the base.

    Raises ActionError `merge-no-base-weight` where one has no counterpart, `bad-adapter` for an unpaired update.
    """
    config = json.loads((Path(adapter) / "adapter_config.json").read_text())
    origin = dict(weights.slots_of(base))
    updates = _updates(weights.slots_of(adapter), bool(config.get("fan_in_fan_out")))
    tied = tied_names(base)
    untied = tied is not None and not updates.keys().isdisjoint(tied)
    if tied and untied:
        # The adapter tells the two embeddings apart, so the result stores both.
        inputs, outputs = tied
        origin[outputs] = origin[inputs]
    unknown = sorted(updates.keys() - origin.keys())
    if unknown:
        raise ActionError(
            f"the base has no weight for {len(unknown)} of the adapter's updates: {', '.join(unknown[:3])}",
            slug="merge-no-base-weight",
        )
    r, alpha = config["r"], config["lora_alpha"]
    return LoraMerge(origin, updates, alpha / math.sqrt(r) if config.get("use_rslora") else alpha / r, untied)


def _updates(slots: dict[str, Slot], fan_in_fan_out: bool) -> dict[str, Update]:
    out: dict[str, Update] = {}
    for key, slot in slots.items():
        name = key.removeprefix(_PREFIX)
        for end_a, end_b in _PAIRS:
            if name.endswith(end_a):
                b = slots.get(key.removesuffix(end_a) + end_b)
                if b is None:
                    raise ActionError(f"{key} has no {end_b[1:]} beside it", slug="bad-adapter")
                embedding = end_a == _PAIRS[1][0]
                out[name.removesuffix(end_a) + ".weight"] = Update(slot, b, embedding or fan_in_fan_out)
                break
        else:
            if ".lora_" not in name:
                # modules_to_save, or a trained bias (which PEFT names below the layer that it wraps)
                out[name.replace(".base_layer.", ".")] = Update(slot)
    return out


def tied_names(base: str) -> tuple[str, str] | None:
    """(input, output) embedding weights that share one tensor, or None. Builds the model without weights."""
    from transformers import AutoConfig, AutoModelForCausalLM

    config = AutoConfig.from_pretrained(base, local_files_only=True)
    if not config.get_text_config().tie_word_embeddings:
        return None
    with torch.device("meta"):
        model = AutoModelForCausalLM.from_config(config)
    names = {id(module): name for name, module in model.named_modules()}
    inputs, outputs = names[id(model.get_input_embeddings())], names[id(model.get_output_embeddings())]
    return f"{inputs}.weight", f"{outputs}.weight"
