"""Which characters of a rendered conversation the model would have written: the assistant's turns.

A turn's text starts where the generation prompt ends and stops behind its end-of-turn token. Both ends come
from rendering prefixes of the conversation, so they are exact wherever a longer conversation renders to a
longer text with the same beginning. Where that does not hold there is no mask to guess: it is an error.
"""

from __future__ import annotations

from typing import Any, NamedTuple

from tunekit.data.template import ChatTemplate, TemplateRefusal
from tunekit.errors import ActionError


class Turn(NamedTuple):
    """Characters [start, end) of the full text: what follows the generation prompt, up to the next turn.
    `content_end`: where the message's own text ends, or `start` if the template changes it."""

    start: int
    content_end: int
    end: int


def render(template: ChatTemplate, messages: list[dict[str, Any]], row: int) -> str:
    """The whole conversation. Raises ActionError (`template-refused`) naming the row."""
    try:
        return template.render(messages)
    except TemplateRefusal as e:
        raise ActionError(
            f"row {row}: the chat template refuses the conversation: {e}",
            slug="template-refused",
            hint="change the rows with a `map`, or set another `chat_template`",
        ) from e


def assistant_turns(template: ChatTemplate, messages: list[dict[str, Any]], text: str, row: int) -> list[Turn]:
    """The assistant's turns in `text`, the rendered conversation.

    Raises ActionError (`template-not-prefix-stable`) naming row and turn (both counted from 0).
    """
    turns = []
    for number, message in enumerate(messages):
        if message["role"] != "assistant":
            continue
        try:
            prompt = template.render(messages[:number], add_generation_prompt=True)
            upto = text if number + 1 == len(messages) else template.render(messages[: number + 1])
        except TemplateRefusal as e:
            raise _not_stable(row, number, f"it refuses the turns before: {e}") from e
        if not upto.startswith(prompt):
            raise _not_stable(row, number, "the turn does not begin with the generation prompt")
        if not text.startswith(upto):
            raise _not_stable(row, number, "later turns change how it is rendered")
        same = upto.startswith(message["content"], len(prompt))
        turns.append(Turn(len(prompt), len(prompt) + len(message["content"]) * same, len(upto)))
    return turns


def _not_stable(row: int, turn: int, why: str) -> ActionError:
    return ActionError(
        f"row {row}, turn {turn}: the chat template is not prefix-stable here: {why}",
        slug="template-not-prefix-stable",
        hint='set `chat_template` to a prefix-stable one (for instance "chatml"), or train_on = "all"',
    )
