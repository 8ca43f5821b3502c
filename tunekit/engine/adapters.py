"""A declared adapter → PEFT's configuration and a model with it."""

from __future__ import annotations

import difflib
from typing import TYPE_CHECKING, Any

import torch

from tunekit.errors import ActionError
from tunekit.steps.adapter.spec import Adapter

if TYPE_CHECKING:
    from peft import LoraConfig, PeftModel
    from transformers import PreTrainedModel


def lora_config(adapter: Adapter, fan_in_fan_out: bool = False) -> LoraConfig:
    """PEFT's configuration of a declared adapter. `fan_in_fan_out`: weights are stored [in, out], as in GPT-2."""
    from peft import LoraConfig

    # PEFT types it as an int and computes with any number; a whole one is stored as PEFT's own files do.
    alpha: Any = int(adapter.alpha) if float(adapter.alpha).is_integer() else adapter.alpha
    return LoraConfig(
        task_type="CAUSAL_LM",
        r=adapter.r,
        lora_alpha=alpha,
        lora_dropout=adapter.dropout,
        target_modules=adapter.target_modules,
        modules_to_save=list(adapter.modules_to_save) or None,
        use_rslora=adapter.use_rslora,
        use_dora=adapter.use_dora,
        bias=adapter.bias,
        fan_in_fan_out=fan_in_fan_out,
    )


def with_new_adapter(model: PreTrainedModel, adapter: Adapter, seed: int) -> PeftModel:
    """`model` frozen, with a fresh adapter whose initial weights depend on `seed` alone.

    Raises ActionError `no-target-modules` where a name matches nothing.
    """
    from peft import get_peft_model
    from transformers.pytorch_utils import Conv1D

    _check_targets(model, adapter)
    transposed = any(isinstance(module, Conv1D) for module in model.modules())
    torch.manual_seed(seed)
    try:
        return get_peft_model(model, lora_config(adapter, transposed))
    except ValueError as e:
        raise ActionError(f"PEFT refuses the adapter: {e}", slug="bad-adapter") from e


def _check_targets(model: PreTrainedModel, adapter: Adapter) -> None:
    """PEFT is content when one of several names matches; here every name must."""
    names = [name for name, _ in model.named_modules() if name]
    leaves = sorted({name.rpartition(".")[2] for name in names})
    wanted = [("modules_to_save", m) for m in adapter.modules_to_save]
    if isinstance(adapter.target_modules, list):
        wanted += [("target_modules", m) for m in adapter.target_modules]
    for field, module in wanted:
        if any(name == module or name.endswith("." + module) for name in names):
            continue
        near = difflib.get_close_matches(module.rpartition(".")[2], leaves, n=3, cutoff=0.4)
        raise ActionError(
            f"adapter.{field}: the model has no module `{module}`",
            slug="no-target-modules",
            hint=f"nearest: {', '.join(near)}" if near else f"its modules: {', '.join(leaves)}",
        )
    if isinstance(adapter.target_modules, str) and adapter.target_modules != "all-linear":
        _check_regex(adapter.target_modules, names, leaves)


def _check_regex(pattern: str, names: list[str], leaves: list[str]) -> None:
    import re

    try:
        matched = any(re.fullmatch(pattern, name) for name in names)
    except re.error as e:
        raise ActionError(f"adapter.target_modules is not a regular expression: {e}", slug="no-target-modules") from e
    if not matched:
        raise ActionError(
            f"adapter.target_modules `{pattern}` matches the full name of no module",
            slug="no-target-modules",
            hint=f"for instance `{names[-1]}`; last parts: {', '.join(leaves)}",
        )
