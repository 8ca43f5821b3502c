"""An adapter: what is trained on top of a frozen base. Inlined in the key of the run that uses it."""

from __future__ import annotations

from typing import Annotated, Literal

from tunekit.spec import PositiveFloat, Spec, semantic


class Adapter(Spec, frozen=True, kw_only=True):
    """A LoRA adapter. Names are PEFT's without the `lora_` prefix (Hu et al. 2021; rsLoRA: Kalajdzievski 2023)."""

    method: Annotated[Literal["lora"], semantic("Adapter method.")] = "lora"
    r: Annotated[int, semantic("Rank of the update.", ge=1)] = 16
    alpha: Annotated[float, semantic("Scale: the update is multiplied by alpha / r.", gt=0)] = 32.0
    dropout: Annotated[float, semantic("Dropout on the adapter's input.", ge=0, lt=1)] = 0.0
    target_modules: Annotated[
        list[str] | str, semantic("Modules to adapt: a list of names, a regex, or `all-linear`.")
    ] = "all-linear"
    modules_to_save: Annotated[list[str], semantic("Modules trained in full and stored with the adapter.")] = []
    use_rslora: Annotated[bool, semantic("Scale by alpha / sqrt(r) instead of alpha / r.")] = False
    use_dora: Annotated[bool, semantic("Weight-decomposed LoRA.")] = False
    bias: Annotated[Literal["none", "all", "lora_only"], semantic("Which biases are trained.")] = "none"
    loraplus_lr_ratio: Annotated[
        PositiveFloat | None, semantic("LoRA+: learning rate of the B matrices, as a multiple of the run's.")
    ] = None
