"""The implicit `#reference` step: how likely the reference policy holds every answer of a run.

Its key has the policy's weights, the tokens, and which rows are read and how they are cut; nothing of how it is used.
So runs that differ in beta, learning rate or steps share it.
"""

from __future__ import annotations

from typing import Annotated, Literal

import msgspec

from tunekit.derive import Action, Edge, action_of
from tunekit.label import Label
from tunekit.spec import PositiveInt, Spec, numeric, operational, semantic
from tunekit.steps.adapter.spec import Adapter


class Share(Spec, frozen=True, kw_only=True):
    """How much of one dataset."""

    limit: Annotated[PositiveInt | None, semantic("The first rows only.")] = None
    weight: Annotated[float, semantic("How often a row is taken.", gt=0)] = 1.0


class Pairing(Spec, frozen=True, kw_only=True):
    """Which answers are put behind which prompts for the KL term of `kto`: rows in the order of the seed, and within
    each block of a step the answer of the row before."""

    seed: Annotated[int, semantic("Of the order.")]
    block: Annotated[int, semantic("Rows of a block.", ge=2)]


class Reference(Spec, frozen=True, kw_only=True):
    """What is scored. Inputs: `base`, maybe `adapter`, and `tokens`."""

    data: Annotated[list[Share], semantic("Of each dataset that is trained on.")]
    eval_data: Annotated[list[Share], semantic("Of each dataset that is evaluated.")] = []
    sequence_len: Annotated[int, semantic("As the run's.")]
    overlong: Annotated[Literal["error", "drop", "keep_start", "keep_end"], semantic("As the run's.")] = "error"
    pairing: Annotated[Pairing | None, semantic("Of answers with verdicts; none: pairs.")] = None
    adapter: Annotated[
        Adapter | None, semantic("A new adapter, as far as it makes the policy at the start another than its base.")
    ] = None
    dtype: Annotated[Literal["float32", "bfloat16"], semantic("Weights and activations.")] = "float32"
    attn: Annotated[str, numeric("Attention implementation.")] = "auto"
    micro_batch_size: Annotated[int, numeric("Rows a forward pass.", ge=1)] = 8
    names: Annotated[list[str], operational("Of the datasets, for messages.")] = []


def changed_by(adapter: Adapter | None) -> Adapter | None:
    """What of a new adapter changes the policy before the first step: a quantized base, and what LoftQ makes up for.
    (An init that takes a part of the base gives as much back.)"""
    if adapter is None or adapter.quantize == "none":
        return None
    if adapter.init == "loftq":
        return msgspec.structs.replace(adapter, dropout=0.0, loraplus_lr_ratio=None)
    return Adapter(quantize=adapter.quantize, double_quant=adapter.double_quant)


def reference_action(owner: Label, spec: Reference, inputs: dict[str, list[Edge]], cpus: int) -> Action:
    """`run:x#reference`."""
    label = Label(owner.kind, owner.name, step="reference")
    return action_of(label, "reference", spec, inputs=inputs, cpus=cpus)
