"""The implicit `#tokens` step: rows to token ids with label masks, part by part.

Whole rows: the length policy, packing and batching are the run's and act on views, so changing them
re-tokenizes nothing. The worker imports tokenizers and jinja2, not transformers or torch.
"""

from __future__ import annotations

from typing import Annotated, Literal

from tunekit.derive import Action, Edge, action_of
from tunekit.label import Label
from tunekit.spec import Spec, semantic

TrainOn = Literal["assistant", "all"]


class TokenItem(Spec, frozen=True, kw_only=True):
    """How one dataset becomes tokens."""

    format: Annotated[str, semantic("Form of the rows; `auto`: what the dataset says.")] = "chat"
    train_on: Annotated[TrainOn, semantic("Which tokens carry a label: `assistant` turns, or `all`.")] = "assistant"


class Tokens(Spec, frozen=True, kw_only=True):
    """One item per dataset, in the order of the inputs of role `data`."""

    items: Annotated[list[TokenItem], semantic("One per dataset.")]


def tokens_action(owner: Label, items: list[TokenItem], data: list[Edge], tokenizer: Edge) -> Action:
    """`run:x#tokens` or `eval:x#tokens`: inputs `data` (datasets, in order) and `tokenizer` (any artifact with one)."""
    label = Label(owner.kind, owner.name, step="tokens")
    return action_of(
        label,
        "tokens",
        Tokens(items=items),
        inputs={"data": data, "tokenizer": [tokenizer]},
        packages=["tokenizers", "jinja2", "pyarrow"],
    )
