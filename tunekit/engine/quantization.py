"""A base in 4 or 8 bits under an adapter, by bitsandbytes; and what of it is stored beside the adapter.

An adapter that was trained on a quantized base makes up for what the quantization lost. So the artifact says how the
base was quantized: whoever loads the adapter quantizes the base again, and a merge sends the base's weights through
NF4 and back before it adds the update.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any, NamedTuple

import torch

from tunekit.engine import weights
from tunekit.errors import ActionError
from tunekit.foreign import json_of

FILE = "base_quantization.json"
_KNOWN = {"scheme": str, "dtype": str, "double_quant": bool, "blocksize": int, "modules": list}


class Quantization(NamedTuple):
    """How a base was quantized. `dtype`: of the weights that were quantized, and that computing happens in;
    `blocksize`: weights that share a scale (nf4); `modules`: names of the linear layers that were quantized."""

    scheme: str
    dtype: str
    double_quant: bool
    blocksize: int
    modules: list[str]

    def summary(self) -> dict[str, Any]:
        return {**self._asdict(), "modules": len(self.modules)}


def bits_config(scheme: str, double_quant: bool, dtype: torch.dtype) -> Any:
    """Transformers' configuration of a load that quantizes.

    Raises ActionError: `no-bitsandbytes`, `quantization-unavailable`.
    """
    try:
        import bitsandbytes  # noqa: F401
    except ImportError as e:
        raise ActionError(
            f"quantize = {scheme!r} needs bitsandbytes, which is not installed here",
            slug="no-bitsandbytes",
            hint="install tunekit with the extra `quant`: pip install -e '.[quant]'",
        ) from e
    from transformers import BitsAndBytesConfig
    from transformers.integrations.bitsandbytes import validate_bnb_backend_availability

    try:
        validate_bnb_backend_availability(raise_exception=True)
    except RuntimeError as e:
        raise ActionError(f"bitsandbytes has no code for this device: {e}", slug="quantization-unavailable") from e
    if scheme == "int8":
        return BitsAndBytesConfig(load_in_8bit=True)
    return BitsAndBytesConfig(
        load_in_4bit=True,
        bnb_4bit_quant_type="nf4",
        bnb_4bit_use_double_quant=double_quant,
        bnb_4bit_compute_dtype=dtype,
    )


def settled(model: Any, scheme: str, dtype: str) -> Quantization:
    """What took effect, from the layers that hold it. ActionError `quantization-unavailable` if nothing did.

    On CPUs with AVX512-BF16, a first evaluation would repack the layers in place: with other scales, in bfloat16, and
    without gradients from then on. That is switched off.
    """
    from bitsandbytes.nn import Linear4bit, Linear8bitLt

    wanted = Linear4bit if scheme == "nf4" else Linear8bitLt
    layers = {name: module for name, module in model.named_modules() if isinstance(module, wanted)}
    if not layers:
        raise ActionError(f"quantize = {scheme!r}: the model has no linear layer", slug="quantization-unavailable")
    if scheme == "int8":
        return Quantization(scheme, dtype, False, 0, sorted(layers))
    states: list[Any] = []
    for layer in layers.values():
        layer.support_avx512bf16_for_cpu = False
        states.append(layer.weight.quant_state)  # type: ignore[attr-defined]
    ((nested, blocksize),) = {(state.nested, state.blocksize) for state in states}
    return Quantization(scheme, dtype, bool(nested), int(blocksize), sorted(layers))


def round_trip(weight: torch.Tensor, how: Quantization) -> torch.Tensor:
    """`weight` [out, in] as layers of a base in NF4 compute with it, in the dtype in which it was quantized.

    Raises ActionError: `no-bitsandbytes`.
    """
    bits_config("nf4", how.double_quant, torch.float32)
    from bitsandbytes.functional import dequantize_4bit, quantize_4bit

    device = "cuda" if torch.cuda.is_available() else "cpu"
    value = weight.to(device, getattr(torch, how.dtype)).contiguous()
    packed, state = quantize_4bit(
        value, blocksize=how.blocksize, compress_statistics=how.double_quant, quant_type="nf4"
    )
    back: torch.Tensor = dequantize_4bit(packed, state)
    return back.to(weight.device)


@torch.no_grad()
def make_up(model: Any, base: str) -> None:
    """LoftQ (Li et al. 2023) with one iteration: A and B of every adapted layer in NF4 start as what comes closest to
    what its weight lost, so that Q + s·BA is nearest to the weight of `base` that became Q. PEFT's own leaves out s.

    Raises ActionError `bad-adapter` where the base has no weight by the layer's name.
    """
    from bitsandbytes.functional import dequantize_4bit
    from peft.tuners.lora import Linear4bit

    slots = weights.slots_of(base)
    for name, layer in model.get_base_model().named_modules():
        if not isinstance(layer, Linear4bit):
            continue
        if f"{name}.weight" not in slots:
            raise ActionError(f"LoftQ: the base's files have no {name}.weight", slug="bad-adapter")
        packed = layer.get_base_layer().weight
        lost = weights.read(slots[f"{name}.weight"]).to(packed.device, torch.float32)
        lost -= dequantize_4bit(packed.data, packed.quant_state).float()
        u, s, vh = torch.linalg.svd(lost, full_matrices=False)
        (adapter,) = layer.lora_A
        rank, root = layer.r[adapter], (s / layer.scaling[adapter])[: layer.r[adapter]].sqrt()
        layer.lora_A[adapter].weight.copy_(root[:, None] * vh[:rank])
        layer.lora_B[adapter].weight.copy_(u[:, :rank] * root)


def store(directory: str | Path, how: Quantization) -> None:
    text = json.dumps(how._asdict(), indent=2, sort_keys=True) + "\n"
    (Path(directory) / FILE).write_text(text, encoding="utf-8")


def stored(directory: str | Path) -> Quantization | None:
    """How the base of an adapter was quantized while it was trained; None: not at all. ActionError `bad-adapter`."""
    path = Path(directory) / FILE
    if not path.is_file():
        return None
    try:
        found = json_of(path.read_bytes())
        if found.keys() != _KNOWN.keys() or not all(type(found[k]) is t for k, t in _KNOWN.items()):
            raise ValueError("it has other fields or types")
        if found["scheme"] not in ("nf4", "int8") or found["dtype"] not in ("float32", "bfloat16", "float16"):
            raise ValueError("it names a scheme or a dtype that is not known here")
        if found["scheme"] == "nf4" and found["blocksize"] not in (32, 64, 128, 256, 512, 1024, 2048, 4096):
            raise ValueError("its blocksize is none of bitsandbytes'")
    except (ValueError, AttributeError) as e:
        raise ActionError(f"{FILE} cannot be read: {e}", slug="bad-adapter") from e
    return Quantization(**found)
