"""The implicit `#reference` step: how likely the reference policy holds every answer of a run.

Its key has the policy's weights, the tokens, and which rows are read and how they are cut; nothing of how it is used.
So runs that differ in beta, learning rate or steps share it.
"""

from __future__ import annotations

from typing import Annotated, Literal

from tunekit.derive import Action, Edge, action_of
from tunekit.label import Label
from tunekit.spec import PositiveInt, Spec, numeric, operational, semantic


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
    dtype: Annotated[Literal["float32", "bfloat16"], semantic("Weights and activations.")] = "float32"
    attn: Annotated[str, numeric("Attention implementation.")] = "auto"
    micro_batch_size: Annotated[int, numeric("Rows a forward pass.", ge=1)] = 8
    names: Annotated[list[str], operational("Of the datasets, for messages.")] = []


def reference_action(owner: Label, spec: Reference, inputs: dict[str, list[Edge]], cpus: int) -> Action:
    """`run:x#reference`."""
    label = Label(owner.kind, owner.name, step="reference")
    return action_of(label, "reference", spec, inputs=inputs, cpus=cpus)
