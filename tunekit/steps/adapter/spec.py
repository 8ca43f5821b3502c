"""An adapter: what is trained on top of a frozen base. Inlined in the key of the run that uses it."""

from __future__ import annotations

from typing import Annotated, Literal

import msgspec

from tunekit.spec import PositiveFloat, PositiveInt, Spec, semantic

# Inits that take a part of the base's weights into the adapter; what is stored is a plain LoRA of twice the rank.
MOVING = ("pissa", "pissa_niter_16", "olora")
LayerIndex = Annotated[int, msgspec.Meta(ge=0)]


class Adapter(Spec, frozen=True, kw_only=True):
    """A LoRA adapter. Names are PEFT's without the `lora_` prefix (Hu et al. 2021; rsLoRA: Kalajdzievski 2023)."""

    method: Annotated[Literal["lora"], semantic("Adapter method.")] = "lora"
    r: Annotated[int, semantic("Rank of the update.", ge=1)] = 16
    alpha: Annotated[float, semantic("Scale: the update is multiplied by alpha / r.", gt=0)] = 32.0
    dropout: Annotated[float, semantic("Dropout on the adapter's input.", ge=0, lt=1)] = 0.0
    target_modules: Annotated[
        list[str] | str,
        semantic("Modules to adapt: ends of their names, a regex that matches whole names, or `all-linear`."),
    ] = "all-linear"
    target_parameters: Annotated[
        list[str],
        semantic("Expert tensors (3D) to adapt, by the ends of their names: `mlp.experts.gate_up_proj`; no dropout."),
    ] = []
    layers_to_transform: Annotated[
        list[LayerIndex], semantic("Adapt these layers only, from 0; `target_modules` is then a list of names.")
    ] = []
    rank_pattern: Annotated[
        dict[str, PositiveInt], semantic("Other ranks, by regex on the end of a module's name: `{ o_proj = 8 }`.")
    ] = {}
    alpha_pattern: Annotated[dict[str, PositiveFloat], semantic("Other alphas, by the same kind of regex.")] = {}
    modules_to_save: Annotated[list[str], semantic("Modules trained in full and stored with the adapter.")] = []
    use_rslora: Annotated[bool, semantic("Scale by alpha / sqrt(r) instead of alpha / r.")] = False
    use_dora: Annotated[bool, semantic("Weight-decomposed LoRA.")] = False
    bias: Annotated[Literal["none", "all", "lora_only"], semantic("Which biases are trained.")] = "none"
    init: Annotated[
        Literal["default", "gaussian", "pissa", "pissa_niter_16", "olora", "loftq"],
        semantic("Initial weights; PiSSA and OLoRA come out as a plain LoRA of rank 2r, LoftQ needs `quantize`."),
    ] = "default"
    loraplus_lr_ratio: Annotated[
        PositiveFloat | None, semantic("LoRA+: the learning rate of B is this many times that of A (16 is common).")
    ] = None
    quantize: Annotated[
        Literal["none", "nf4", "int8"],
        semantic("QLoRA: the frozen base in 4 or 8 bits while this adapter is trained (bitsandbytes)."),
    ] = "none"
    double_quant: Annotated[bool, semantic("With `nf4`: the scales of its blocks are quantized, too.")] = True

    def checks(self) -> list[tuple[str, str, str]]:
        out = []
        if self.target_modules in ("", []) and not self.target_parameters:
            hint = 'name modules, or `target_modules = "all-linear"`'
            out.append(("target_modules", "the adapter names no module and no parameter", hint))
        if self.layers_to_transform and isinstance(self.target_modules, str):
            hint = 'for instance `target_modules = ["q_proj", "v_proj"]`'
            out.append(("layers_to_transform", "`layers_to_transform` needs `target_modules` as a list of names", hint))
        if not self.double_quant and self.quantize != "nf4":
            out.append(("double_quant", "`double_quant` is a setting of `nf4`", 'set quantize = "nf4", or remove it'))
        return out + self._of_parameters() + self._of_init()

    def _of_parameters(self) -> list[tuple[str, str, str]]:
        """PEFT adds the update to an expert tensor itself, so what acts on a module's input has no place."""
        if not self.target_parameters:
            return []
        taken = {"dropout": self.dropout > 0, "use_dora": self.use_dora, "init": self.init not in ("default",)}
        return [
            (name, f"`{name}` does not work with `target_parameters`", f"remove `{name}`, or adapt modules only")
            for name, on in taken.items()
            if on
        ]

    def _of_init(self) -> list[tuple[str, str, str]]:
        out = []
        if self.init == "loftq" and self.quantize != "nf4":
            out.append(("init", "LoftQ makes up for what 4 bits lose: it needs them", 'set quantize = "nf4"'))
        if self.init in MOVING and self.quantize != "none":
            message = f"`{self.init}` changes the base's weights, which must not be quantized then"
            out.append(("init", message, 'use init = "loftq" with quantize = "nf4"'))
        if self.use_dora and self.init in (*MOVING, "loftq"):
            out.append(("init", f"`{self.init}` does not work with `use_dora`", 'use init = "default"'))
        return out
