"""Rows of shape `prompt` as token ids to generate from, and what rewards are told of them."""

from __future__ import annotations

from collections.abc import Iterable
from fractions import Fraction
from itertools import islice
from typing import Any, NamedTuple

from tunekit.data.columns import Row
from tunekit.data.formats.stored import open_messages
from tunekit.data.rowset import open_dataset
from tunekit.data.template import TemplateRefusal
from tunekit.data.vocabulary import Vocabulary
from tunekit.errors import ActionError
from tunekit.forms import refusal
from tunekit.protocol import Input


class Prompt(NamedTuple):
    """One row. `text` is what `ids` stand for; `row` is the dataset's, with its own `prompt` and all columns."""

    ids: list[int]
    text: str
    row: Row


class Share(NamedTuple):
    """How much of a dataset is used: the first `limit` rows, each `weight` times: evenly spread."""

    limit: int | None = None
    weight: float = 1.0

    def of(self, rows: Iterable[Row]) -> list[Row]:
        # Exact fractions: 0.1 as a float would drift over a long dataset.
        share = Fraction(self.weight).limit_denominator(1_000_000)
        used = enumerate(islice(rows, self.limit))
        return [row for i, row in used for _ in range((i + 1) * share // 1 - i * share // 1)]


def read_prompts(
    sources: list[Input], shares: list[Share], vocabulary: Vocabulary, longest: int | None = None
) -> list[Prompt]:
    """The prompts of all datasets, in order.

    A string is one user message where the tokenizer has a chat template, and plain text where it has none.
    `longest`: tokens a prompt may have. Raises ActionError: `wrong-format`, `no-template`, `template-refused`,
    `empty-prompt`, `prompt-too-long`, `no-prompts`.
    """
    out: list[Prompt] = []
    for source, share in zip(sources, shares, strict=True):
        dataset = open_dataset(source.path)
        refused = refusal("generation", source.label, dataset.shape)
        if refused:
            raise ActionError(refused.message, slug=refused.slug, hint=refused.hint)
        rows = share.of(dataset.iter_rows())
        found = [prompt_of(row, vocabulary, f"{source.label}, row {i}") for i, row in enumerate(rows)]
        _check_length(found, longest, source.label)
        out += found
    if not out:
        raise ActionError("there is no prompt", slug="no-prompts", hint="look at `limit`, `weight` and the datasets")
    return out


def prompt_of(row: Row, vocabulary: Vocabulary, where: str) -> Prompt:
    """One row of a form that has prompts. Raises ActionError: `no-template`, `template-refused`, `empty-prompt`."""
    text, templated = _text(row["prompt"], vocabulary, where)
    ids = vocabulary.tokenizer.encode(text, add_special_tokens=False).ids
    if not templated and vocabulary.adds_bos and vocabulary.bos_id is not None:
        ids = [vocabulary.bos_id, *ids]
    if not ids:
        raise ActionError(f"{where}: the prompt {text!r} has no tokens", slug="empty-prompt")
    return Prompt(ids, text, row)


def _text(prompt: Any, vocabulary: Vocabulary, where: str) -> tuple[str, bool]:
    """The prompt as the model reads it, and whether a template made it."""
    if vocabulary.template is None:
        if isinstance(prompt, str):
            return prompt, False
        raise ActionError(
            f"{where}: the prompt is a list of messages and the tokenizer has no chat template",
            slug="no-template",
            hint='declare a [tokenizer] with chat_template = "chatml", or make prompts plain strings',
        )
    messages = [{"role": "user", "content": prompt}] if isinstance(prompt, str) else open_messages(prompt)
    try:
        return vocabulary.template.render(messages, add_generation_prompt=True), True
    except TemplateRefusal as e:
        raise ActionError(
            f"{where}: the chat template refuses the prompt: {e}",
            slug="template-refused",
            hint="change the rows with a `map`, or set another `chat_template`",
        ) from e


def _check_length(prompts: list[Prompt], longest: int | None, label: str) -> None:
    over = [(i, len(p.ids)) for i, p in enumerate(prompts) if longest is not None and len(p.ids) > longest]
    if over:
        raise ActionError(
            f"{len(over)} of {len(prompts)} prompts of {label} are longer than max_prompt_length {longest}: the first"
            f" is row {over[0][0]}, the longest has {max(n for _, n in over)} tokens",
            slug="prompt-too-long",
            hint="raise max_prompt_length, or leave them out with a `map` that returns None",
        )
