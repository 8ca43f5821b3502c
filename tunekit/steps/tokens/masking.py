"""What the room of tokens does for masks: encoders by their settings, and the gate on the ends of turns."""

from __future__ import annotations

from typing import Any

from tunekit.data.encoder import Encoder
from tunekit.data.library import template_text
from tunekit.data.template import ChatTemplate
from tunekit.data.tokenset import TokenSet
from tunekit.data.vocabulary import Vocabulary
from tunekit.errors import ActionError
from tunekit.protocol import Events, Input
from tunekit.steps.tokens.spec import TokenItem


def encoder_of(vocabulary: Vocabulary, item: TokenItem) -> Encoder:
    """The encoder of one item. Raises ActionError (`bad-template` and what Encoder raises)."""
    text = template_text(item.chat_template)
    template = ChatTemplate(text, vocabulary.tokens) if text else None
    return Encoder(vocabulary, item.format, item.train_on, item.roles, template, item.reads)


def warn_of_templates(vocabulary: Vocabulary, templates: list[ChatTemplate | None], events: Events) -> None:
    """Warn of a printed date, and of rows that another template printed than the model will be used with."""
    if any(template is not None and template.read_clock for template in templates):
        events.warning("template-clock", "the chat template prints the date; a fixed day is used (2024-07-26)")
    own = vocabulary.template.text if vocabulary.template else ""
    if any(template is not None and template.text != own for template in templates):
        events.warning(
            "template-differs",
            "rows are printed with another chat template than the tokenizer's, which is the one that the model keeps: "
            "to change that, set `chat_template` in a [tokenizer] table",
        )


_TOLD = {
    "content-dropped": "messages whose content the chat template does not print",
    "reasoning-dropped": "messages whose reasoning the chat template does not print",
    "off-prompt": "turns that begin otherwise than the generation prompt ends",
    "edge-space": "rows with white space at the end of a part: put it at the beginning of the next one",
    "no-end": "trained turns that do not end with a token that generation stops at",
}


def warn_of_reasons(sources: list[Input], items: list[TokenSet], events: Events) -> None:
    """One warning for each reason that a user may want to do something about; the ledger has them all."""
    for source, item in zip(sources, items, strict=True):
        for reason, words in _TOLD.items():
            found = item.ledger["reasons"].get(reason)
            if found:
                events.warning(reason, f"{source.label}: {found['count']} {words}", rows=found["rows"])


def check_ends(sources: list[Input], items: list[TokenSet], specs: list[TokenItem], events: Events) -> None:
    """The gate on turns: some of them must end with a token that generation stops at, or the model never learns
    to stop. Raises ActionError (`no-end-of-turn`)."""
    measured: list[dict[str, Any]] = []
    failed = None
    for source, item, spec in zip(sources, items, specs, strict=True):
        turns, ended = item.ledger["turns"], item.ledger["ended"]
        if not turns:
            continue
        measured.append({"data": source.label, "ended_ratio": round(ended / turns, 6)})
        if not ended and spec.require_end:
            failed = failed or source
    if measured:
        events.gate("end_of_turn", failed is None, measured, "> 0")
    if failed is not None:
        raise ActionError(
            f"{failed.label}: no trained turn ends with a token that generation stops at, so the model would not learn "
            "to stop",
            slug="no-end-of-turn",
            hint="set `eos_token` in a [tokenizer] table to what the chat template ends a turn with, or require_end = "
            "false for these rows",
        )
