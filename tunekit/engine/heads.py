"""Models that judge texts: a causal language model whose output layer gives way to a new head."""

from __future__ import annotations

from typing import Any, NamedTuple

import torch

from tunekit.errors import ActionError


class Head(NamedTuple):
    """`task`: PEFT's name, `SEQ_CLS` (of a text) or `TOKEN_CLS` (of every token); `labels`: how many numbers it says.
    `module`: what it is called in a model, once there is one."""

    task: str
    labels: int
    module: str = ""

    @property
    def auto_class(self) -> Any:
        """Transformers' class for such models."""
        from transformers import AutoModelForSequenceClassification, AutoModelForTokenClassification

        return {"SEQ_CLS": AutoModelForSequenceClassification, "TOKEN_CLS": AutoModelForTokenClassification}[self.task]

    def config(self, base: str) -> Any:
        """Of a model with such a head. Transformers puts a dropout of 0.1 in front of a head for tokens that nobody
        asked for; an adapter's dropout is its own setting."""
        from transformers import AutoConfig

        config: Any = AutoConfig.from_pretrained(base, num_labels=self.labels, local_files_only=True)
        if self.task == "TOKEN_CLS":
            config.classifier_dropout = 0.0
        return config


def new_head(model: Any, missing: set[str], head: Head, seed: int) -> Head:
    """The head of a model that was just loaded from a language model, with weights that depend on `seed` alone: normal
    with the model's own deviation, biases zero. `missing`: parameters that were not in the files.

    Raises ActionError `no-head` if the model has one from there already, or none of its own.
    """
    body = f"{model.base_model_prefix}."
    fresh = {name: p for name, p in model.named_parameters() if name in missing and not name.startswith(body)}
    modules = {name.rpartition(".")[0] for name in fresh}
    if len(modules) != 1:
        raise ActionError(
            f"{type(model).__name__} has {len(modules)} new modules beside its body, not a head alone",
            slug="no-head",
            hint="start from a causal language model of an architecture that Transformers has such a class for",
        )
    generator = torch.Generator().manual_seed(seed)
    deviation = float(model.config.get_text_config().initializer_range)
    with torch.no_grad():
        for name in sorted(fresh):
            value = torch.zeros(fresh[name].shape)
            if value.dim() > 1:
                value.normal_(0.0, deviation, generator=generator)
            fresh[name].copy_(value)
    return head._replace(module=modules.pop())


def pad_id_of(tokenizer: Any) -> int:
    """What rows are padded with. A model that scores a text looks for its last token that is not this one, so it is
    the same in training and afterwards. ActionError `no-pad-token`."""
    for found in (tokenizer.pad_token_id, tokenizer.eos_token_id):
        if isinstance(found, int):
            return found
    raise ActionError(
        "the tokenizer has neither a pad_token nor an eos_token",
        slug="no-pad-token",
        hint="set `pad_token` in a [tokenizer] table",
    )
