"""The implicit `#tokens` step: rows to token ids with label masks, part by part.

Whole rows: the length policy, packing and batching are the run's and act on views, so changing them
re-tokenizes nothing. The worker imports tokenizers and jinja2, not transformers or torch.
"""

from __future__ import annotations

from typing import Annotated, Literal

from tunekit.derive import Action, Edge, Scope, action_of
from tunekit.label import Label
from tunekit.spec import Spec, semantic

TrainOn = Literal["assistant", "all"]


class TokenItem(Spec, frozen=True, kw_only=True):
    """How one dataset becomes tokens."""

    format: Annotated[Literal["chat", "completion"], semantic("Row shape.")] = "chat"
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


def item_format(scope: Scope, dataset: str, key: str) -> Literal["chat", "completion"]:
    """The declared shape of a dataset, if it can be tokenized for a loss; a recorded problem otherwise."""
    shape = scope.dataset_format(dataset)
    if shape == "chat":
        return "chat"
    if shape == "completion":
        return "completion"
    scope.problem(
        "wrong-format",
        key,
        f"{dataset} has format `{shape}`; a loss needs `chat` or `completion` rows",
        f'set format = "chat" or "completion" in [{dataset.replace(":", ".")}]',
    )
    return "completion"
