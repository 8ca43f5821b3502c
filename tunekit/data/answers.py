"""Rows of a prompt and what is said of its answer: pairs of answers, answers with a verdict, steps with verdicts.

preference  {prompt, chosen, rejected}    read as one answer or as the other; the two readings share the prompt
unpaired    {prompt, completion, label}   the label is the answer's verdict
stepwise    {prompt, completions, labels} a verdict on each step stands at the step's last token

Texts: prompt, answer and `eos_token` as one text, as TRL's trainers have it: a token that begins in the prompt and
ends in the answer is the answer's. Messages: the chat template prints prompt and answer as one conversation.
"""

from __future__ import annotations

from typing import NamedTuple

from tunekit.data.columns import Row
from tunekit.data.conversation import Conversation, RowFault, conversation_of
from tunekit.data.marked import Marked, Span
from tunekit.data.plainrows import Text
from tunekit.data.turns import Masks

# Whoever reads a row as this is given the column as the answer.
ANSWERS = {"chosen": "chosen", "rejected": "rejected", "verdict": "completion"}
FORMS = ("preference", "unpaired")  # that have answers
WITH_VERDICTS = ("unpaired", "stepwise")
SEPARATOR = "\n"  # behind every step, as TRL's and OpenAI's step data have it; the verdict stands at its last token


def answer_of(row: Row, reads: str, masks: Masks | None) -> Text:
    """A row with one of its answers. Raises RowFault (`no-template`, and those of Masks)."""
    prompt, answer = row["prompt"], row[ANSWERS[reads]]
    verdicts = [bool(row["label"])] if reads == "verdict" else []
    if isinstance(prompt, str):
        return _text(prompt, answer)._replace(verdicts=verdicts)
    if masks is None:
        raise RowFault(
            "no-template",
            "the row is a conversation, and the tokenizer has no chat template",
            'set `chat_template` (for instance "chatml") in a [tokenizer] table',
        )
    conversation = conversation_of({"messages": [*prompt, *answer], "tools": row.get("tools")})
    marked = masks.answered(_asked(conversation, len(prompt)), len(prompt))
    return Text(marked, framed=False, end=False, chat=True, verdicts=verdicts)


def _text(prompt: str, answer: str) -> Text:
    # header=-1: the span begins with the token that its first character lies in, wherever that begins
    spans = [Span(len(prompt), len(prompt) + len(answer), True, header=-1)] if answer else []
    notes = ["edge-space"] if answer and prompt[-1:].isspace() else []
    return Text(Marked(prompt + answer, False, spans, notes), framed=True, end=True)


def _asked(conversation: Conversation, count: int) -> Conversation:
    """With nothing trained of the first `count` messages, whatever they say themselves."""
    turns = [turn._replace(train=False, parts={}) for turn in conversation.turns[:count]]
    return conversation._replace(turns=[*turns, *conversation.turns[count:]])


class Steps(NamedTuple):
    """`pieces`: the prompt, then each step and its separator, which are tokenized one by one, so that a step ends
    with a token of its own."""

    pieces: list[str]
    verdicts: list[bool]


def steps_of(row: Row) -> Steps:
    pieces = [row["prompt"], *(piece for step in row["completions"] for piece in (step, SEPARATOR))]
    return Steps(pieces, [bool(verdict) for verdict in row["labels"]])
