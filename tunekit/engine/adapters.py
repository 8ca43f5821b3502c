"""A declared adapter → PEFT's configuration and a model with it."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import torch

from tunekit.engine.heads import Head
from tunekit.engine.quantization import make_up
from tunekit.engine.targets import check_targets
from tunekit.errors import ActionError
from tunekit.steps.adapter.spec import MOVING, Adapter

if TYPE_CHECKING:
    from peft import LoraConfig, PeftModel
    from transformers import PreTrainedModel


def lora_config(adapter: Adapter, fan_in_fan_out: bool = False, head: Head | None = None) -> LoraConfig:
    """PEFT's configuration of a declared adapter. `fan_in_fan_out`: weights are stored [in, out], as in GPT-2. A new
    head is trained and stored as a whole, with the adapter."""
    from peft import LoraConfig

    # LoftQ's weights come after the base was quantized: `with_new_adapter`.
    init: Any = {"default": True, "loftq": True}.get(adapter.init, adapter.init)
    return LoraConfig(
        task_type=head.task if head else "CAUSAL_LM",
        r=adapter.r,
        lora_alpha=_number(adapter.alpha),
        lora_dropout=adapter.dropout,
        target_modules=adapter.target_modules,
        target_parameters=list(adapter.target_parameters) or None,
        layers_to_transform=list(adapter.layers_to_transform) or None,
        rank_pattern=dict(adapter.rank_pattern),
        alpha_pattern={name: _number(alpha) for name, alpha in adapter.alpha_pattern.items()},
        modules_to_save=list(dict.fromkeys([*adapter.modules_to_save, *([head.module] if head else [])])) or None,
        exclude_modules=[head.module] if head and adapter.target_modules == "all-linear" else None,
        use_rslora=adapter.use_rslora,
        use_dora=adapter.use_dora,
        bias=adapter.bias,
        init_lora_weights=init,
        fan_in_fan_out=fan_in_fan_out,
    )


def _number(alpha: float) -> Any:
    """PEFT types it as an int and computes with any number; a whole one is stored as PEFT's own files do."""
    return int(alpha) if float(alpha).is_integer() else alpha


def with_new_adapter(
    model: PreTrainedModel, adapter: Adapter, seed: int, base: str, head: Head | None = None
) -> PeftModel:
    """`model` frozen, with a fresh adapter whose initial weights depend on `seed` and the weights in `base` alone.

    Raises ActionError: those of `check_targets`, `bad-adapter`, `init-needs-float32`.
    """
    from peft import get_peft_model
    from transformers.pytorch_utils import Conv1D

    check_targets(model, adapter)
    if adapter.init in MOVING and model.dtype != torch.float32:
        raise ActionError(
            f"init = {adapter.init!r} takes a part of the base into the adapter; rounded to {model.dtype}, base and "
            "adapter would not add up to the model that it started from",
            slug="init-needs-float32",
            hint='set dtype = "float32" for this run, or init = "default"',
        )
    transposed = any(isinstance(module, Conv1D) for module in model.modules())
    torch.manual_seed(seed)
    try:
        made = get_peft_model(model, lora_config(adapter, transposed, head))
    except (ValueError, TypeError) as e:
        raise ActionError(f"PEFT refuses the adapter: {e}", slug="bad-adapter") from e
    if adapter.init == "loftq":
        make_up(made, base)
    return made
