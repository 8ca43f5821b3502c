"""A base and an adapter as PEFT puts them together, without the base's weights: they are on the meta device.

What an adapter does to which tensor is read off PEFT's own layers (rank, scale, magnitudes, expert tensors), and a
layer merges by PEFT's own code once its weight is there. So one layer's weight is all that is in memory.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

import torch
from torch import nn

from tunekit.engine import weights
from tunekit.errors import ActionError
from tunekit.steps.merge.names import Layout, layout_of

if TYPE_CHECKING:
    from peft import PeftModel
    from transformers import PreTrainedModel

_PREFIX = "base_model.model."
META = torch.device("meta")


class Skeleton(NamedTuple):
    """`layout`: where the base's tensors are. `layers`: the adapted tensors of the model by name, and the layer of
    `peft` that adapts each. `replaced`: tensors that the adapter has in full. `tied`: the names of two embeddings that
    share one tensor in the base. `vocab_size`: of the adapter, where it is not the base's."""

    peft: PeftModel
    layout: Layout
    layers: dict[str, Any]
    replaced: dict[str, torch.Tensor]
    tied: tuple[str, str] | None
    vocab_size: int | None

    @property
    def base(self) -> PreTrainedModel:
        found: Any = self.peft.get_base_model()
        return found


def skeleton(base: str, adapter: str) -> Skeleton:
    """Raises ActionError: `bad-adapter` where the two do not fit, `merge-no-base-weight` where a tensor of the adapter
    has no place in the model."""
    from peft import PeftConfig, get_peft_model

    config = _config(base)
    model = empty_model(config)
    inputs, outputs = _embeddings(model)
    vocab_size = _vocabulary({inputs, outputs}, adapter, config.get_text_config().vocab_size)
    if vocab_size:
        config.get_text_config().vocab_size = vocab_size
        model = empty_model(config)
    tied = (inputs, outputs) if config.get_text_config().tie_word_embeddings else None
    layout = layout_of(model, weights.slots_of(base))
    # An update of one of two tied tensors must not reach the other. (Without weights, nothing is shared.)
    model.config.tie_word_embeddings = model.config.get_text_config().tie_word_embeddings = False
    try:
        settings = PeftConfig.from_pretrained(adapter)
        settings.base_model_name_or_path = None  # a label, of which PEFT would say that it is not this folder
        made: Any = get_peft_model(model, settings, low_cpu_mem_usage=True)
    except (ValueError, TypeError, RuntimeError, KeyError) as e:
        raise ActionError(f"the adapter does not fit its base: {e}", slug="bad-adapter") from e
    replaced = _fill(made, adapter)
    made.requires_grad_(False)
    made.eval()
    return Skeleton(made, layout, _layers(made), replaced, tied, vocab_size)


def empty_model(config: Any) -> PreTrainedModel:
    """A model whose parameters are on the meta device; its buffers are there."""
    from accelerate import init_empty_weights
    from transformers import AutoModelForCausalLM

    with init_empty_weights(include_buffers=False):
        model: Any = AutoModelForCausalLM.from_config(config, dtype=torch.float32)
    model.eval()
    return model


def plain(name: str) -> str:
    """The model's own name of a tensor below PEFT's wrappers."""
    name = name.removeprefix(_PREFIX)
    for wrapper in (".base_layer", ".modules_to_save.default", ".original_module"):
        name = name.replace(wrapper, "")
    return name


def target_of(layer: Any, path: str) -> str:
    """The name of the tensor that a layer of PEFT adapts."""
    from peft.tuners.lora.layer import ParamWrapper

    return f"{plain(path)}.{layer.parameter_name if isinstance(layer, ParamWrapper) else 'weight'}"


def merged(layer: Any, weight: torch.Tensor) -> torch.Tensor:
    """`weight` with the layer's update, by PEFT, where the adapter is; the layer is left without a weight. `weight`
    may be changed."""
    from peft.tuners.lora.layer import ParamWrapper

    holder = layer.get_base_layer()
    name = layer.parameter_name if isinstance(layer, ParamWrapper) else "weight"
    empty = getattr(holder, name)
    device = next(p.device for n, p in layer.named_parameters() if ".lora_" in f".{n}")
    setattr(holder, name, nn.Parameter(weight.to(device), requires_grad=False))
    try:
        layer.merge()
        return getattr(holder, name).data.to(weight.device)
    finally:
        forget(layer)
        setattr(holder, name, empty)


def forget(layer: Any) -> None:
    """The layer as if it had never merged; what DoRA keeps for the way back would be as large as the weight's norm."""
    layer.merged_adapters.clear()
    layer._caches.clear()
    for magnitude in getattr(layer, "lora_magnitude_vector", {}).values():
        magnitude._cache_clear()


def _config(base: str) -> Any:
    from transformers import AutoConfig

    try:
        return AutoConfig.from_pretrained(base, local_files_only=True)
    except (OSError, ValueError, KeyError) as e:
        raise ActionError(f"the base's config.json cannot be read: {e}", slug="bad-model") from e


def _embeddings(model: PreTrainedModel) -> tuple[str, str]:
    """Names of the weights of the input and the output embedding; "" for one that it has not."""
    names: dict[int, str] = {id(module): f"{name}.weight" for name, module in model.named_modules()}
    return names.get(id(model.get_input_embeddings()), ""), names.get(id(model.get_output_embeddings()), "")


def _vocabulary(embeddings: set[str], adapter: str, before: int) -> int | None:
    """Rows of the embeddings that an adapter has in full, if they are not as many as the base's."""
    slots = weights.slots_of(adapter).values()
    sizes = {slot.shape[0] for slot in slots if slot.shape and slot.name.removeprefix(_PREFIX) in embeddings}
    if len(sizes) > 1:
        raise ActionError(f"the adapter's embeddings have {sorted(sizes)} rows", slug="bad-adapter")
    return next((size for size in sizes if size != before), None)


def _layers(model: Any) -> dict[str, Any]:
    from peft.tuners.lora.layer import LoraLayer

    return {target_of(m, path): m for path, m in model.named_modules() if isinstance(m, LoraLayer)}


def _fill(model: Any, adapter: str) -> dict[str, torch.Tensor]:
    """Give PEFT's layers the adapter's weights (float32, as where it trains); returns what it has in full."""
    stored = weights.slots_of(adapter)
    replaced = {}
    for name, parameter in list(model.named_parameters()):
        slot = next((stored.pop(key) for key in _stored_names(name) if key in stored), None)
        if slot is None:
            if ".lora_" in name or ".modules_to_save." in name:
                raise ActionError(f"the adapter has no weight for {plain(name)}", slug="bad-adapter")
            continue
        if slot.shape != tuple(parameter.shape):
            message = f"{slot.name} has shape {list(slot.shape)}, the base's layer takes {list(parameter.shape)}"
            raise ActionError(message, slug="bad-adapter")
        value = weights.read(slot)
        if ".lora_" not in name:
            replaced[plain(name)] = value
        path, _, leaf = name.rpartition(".")
        holder: Any = model.get_submodule(path)
        # PEFT keeps an embedding's matrices in a ParameterDict
        (holder.__setitem__ if isinstance(holder, nn.ParameterDict) else holder.register_parameter)(
            leaf, nn.Parameter(value.float(), requires_grad=False)
        )
    if stored:
        raise ActionError(
            f"the base has no weight for {len(stored)} of the adapter's updates: {', '.join(sorted(stored)[:3])}",
            slug="merge-no-base-weight",
        )
    return replaced


def _stored_names(name: str) -> tuple[str, ...]:
    """What PEFT calls a parameter in a file: without the adapter's name, and without some of its wrappers."""
    if ".lora_magnitude_vector." in name:
        return (name.removesuffix(".default.weight"),)
    if ".lora_" in name:
        return (name.removesuffix(".default") if name.endswith(".default") else name.replace(".default.", "."),)
    bare = name.replace(".modules_to_save.default.", ".")
    return () if ".original_module." in name else (bare, bare.replace(".base_layer.", "."))


def adapter_config(adapter: str) -> dict[str, Any]:
    path = Path(adapter) / "adapter_config.json"
    try:
        found = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError) as e:
        raise ActionError(f"adapter_config.json cannot be read: {e}", slug="bad-adapter") from e
    if not isinstance(found, dict) or not (Path(adapter) / "adapter_model.safetensors").is_file():
        raise ActionError("the adapter has no adapter_model.safetensors", slug="bad-adapter")
    return found
