"""Continued pretraining: the next-token loss on all of a text."""

from __future__ import annotations

from typing import Annotated, Literal

from tunekit.derive import Scope
from tunekit.forms import AUTO, refusal
from tunekit.label import Label
from tunekit.methods.sft import spec as sft
from tunekit.methods.spec import DataItem, items_of, policy
from tunekit.spec import semantic

__all__ = ["Pretrain", "derive", "policy"]


class Pretrain(sft.Sft, frozen=True, kw_only=True):
    """Cross-entropy on every token of `completion` rows, packed, with documents that do not see each other; what runs
    is `sft`. Not for teaching a format or a task (`sft` on chat rows learns that from far less text), and not for an
    instruct model whose manners shall stay: it forgets them."""

    method: Annotated[Literal["pretrain"], semantic("This method.")] = "pretrain"  # type: ignore[assignment]
    sequence_len: Annotated[int, semantic("Longest sequence, in tokens.", ge=8)] = 2048
    overlong: Annotated[
        Literal["error", "split", "truncate", "drop"],
        semantic("Rows longer than sequence_len: fail, or what is done with them (counted in the ledger)."),
    ] = "split"
    packing: Annotated[
        bool,
        semantic("Fill sequences of sequence_len with whole rows that do not see each other; batch_size counts these."),
    ] = True
    weight_decay: Annotated[float, semantic("AdamW decay.", ge=0)] = 0.1
    adam_beta2: Annotated[float, semantic("AdamW second-moment decay.", ge=0, lt=1)] = 0.95


def derive(label: Label, spec: Pretrain, scope: Scope) -> None:
    """As of `sft`. Rows of conversations are refused unless their item says what of them is trained."""
    evals = [DataItem(dataset=i) if isinstance(i, str) else i for i in spec.eval_data]
    for key, items in (("data", items_of(spec)), ("eval_data", evals)):
        for item in items:
            if item.train_on is None:
                _check_form(item.dataset, key, scope)
    sft.derive(label, spec, scope)


def _check_form(dataset: str, key: str, scope: Scope) -> None:
    form = scope.dataset_format(dataset)
    if form == AUTO:
        name = dataset.replace(":", ".", 1)
        message = f"{dataset} does not say its format, and pretrain trains on all of a text"
        scope.problem("wrong-format", key, message, f'set format = "completion" in [{name}]')
    elif refused := refusal("pretraining", dataset, form):
        hint = f'{refused.hint}; or say what is trained of such rows: {{ dataset = "{dataset}", train_on = "all" }}'
        scope.problem(refused.slug, key, refused.message, hint)
