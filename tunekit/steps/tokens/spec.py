"""The implicit `#tokens` step: rows to token ids with label masks, part by part.

Whole rows: the length policy, packing and batching are the run's and act on views, so changing them
re-tokenizes nothing. The worker imports tokenizers and jinja2, not transformers or torch.
"""

from __future__ import annotations

from typing import Annotated, Any, Literal

import msgspec

from tunekit.derive import Action, Edge, Scope, action_of, form_for
from tunekit.forms import CONSUMERS, Reads, Role
from tunekit.hashing import sha256_bytes
from tunekit.label import Label
from tunekit.spec import Spec, plain, semantic
from tunekit.templates import template_fault

TrainOn = Literal["assistant", "last", "all"]


class TokenItem(Spec, frozen=True, kw_only=True):
    """How one dataset becomes tokens. docs/masks.md says what the settings do."""

    format: Annotated[str, semantic("Form of the rows; `auto`: what the dataset says.")] = "chat"
    train_on: Annotated[
        TrainOn, semantic("`assistant`: the turns of `roles` carry labels, `last`: the last of them, `all`: all text.")
    ] = "assistant"
    roles: Annotated[list[Role], semantic("Whose turns carry labels.", min_length=1)] = msgspec.field(
        default_factory=lambda: ["assistant"]
    )
    chat_template: Annotated[str, semantic("A template's name or text; empty: the tokenizer's own.")] = ""
    require_end: Annotated[bool, semantic("Turns must end with a token that generation stops at.")] = True
    reads: Annotated[
        Reads, semantic("Which text of a row: its own, an answer of a pair, or one that verdicts stand on.")
    ] = "loss"


class Masking(Spec, frozen=True, kw_only=True):
    """What an item of a run may say of its dataset's masks; None: as the dataset says."""

    train_on: Annotated[TrainOn | None, semantic("Which turns carry labels; default: the dataset's.")] = None
    roles: Annotated[list[Role] | None, semantic("Whose turns carry labels; default: the dataset's.")] = None
    chat_template: Annotated[
        str | None, semantic("Jinja text, a `.jinja` file, or a name, for these rows; default: the dataset's.")
    ] = None
    require_end: Annotated[
        bool | None, semantic("Turns must end with a token that generation stops at; default: the dataset's.")
    ] = None


class Tokens(Spec, frozen=True, kw_only=True):
    """One item per dataset, in the order of the inputs of role `data`; of pairs two, one after the other."""

    items: Annotated[list[TokenItem], semantic("One per dataset, or per answer.")]


def tokens_action(owner: Label, items: list[TokenItem], data: list[Edge], tokenizer: Edge) -> Action:
    """`run:x#tokens` or `eval:x#tokens`: inputs `data` (datasets, in order) and `tokenizer` (any artifact with one)."""
    label = Label(owner.kind, owner.name, step="tokens")
    action = action_of(
        label,
        "tokens",
        Tokens(items=items),
        inputs={"data": data, "tokenizer": [tokenizer]},
        packages=["tokenizers", "jinja2", "pyarrow"],
    )
    # A template's text by its digest: `why` is to say that it changed, not to print it twice.
    return action._replace(fields={"items": [_by_digest(item) for item in action.fields["items"]]})


def _by_digest(item: dict[str, Any]) -> dict[str, Any]:
    text = item.get("chat_template", "")
    return item | {"chat_template": sha256_bytes(text.encode())} if "{" in text else item


def masks_in_key(item: TokenItem) -> dict[str, Any]:
    """The settings of one dataset as they stand in the key of an action that makes tokens of it."""
    return _by_digest(plain(item))


def token_item(scope: Scope, dataset: str, key: str, said: Masking | None = None, reads: Reads = "loss") -> TokenItem:
    """The settings of one dataset: what an item of a run says, else what the dataset says of itself."""
    found: dict[str, Any] = {}
    for name in ("train_on", "roles", "chat_template", "require_end"):
        value = getattr(said, name) if said else None
        value = scope.dataset_setting(dataset, name) if value is None else value
        if value is not None:
            found[name] = value
    if found.get("chat_template"):
        found["chat_template"] = template_of(scope, found["chat_template"], key)
    return TokenItem(format=form_for(CONSUMERS[reads], scope, dataset, key), reads=reads, **found)


def template_of(scope: Scope, choice: str, key: str) -> str:
    """A name, or the text of the template: a `.jinja` file is read now, so that its text is what enters the key."""
    fault = template_fault(choice)
    if fault is not None:
        scope.problem("unknown-template", key, *fault)
    return scope.text(choice, key) if choice.endswith(".jinja") else choice
