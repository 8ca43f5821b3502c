"""The stricter way to a mask, for templates that say nothing of where a message is printed: rendering turn by turn.

Both ends of a turn come from rendering prefixes of the conversation, so they are exact wherever a longer
conversation renders to a longer text with the same beginning. Where that does not hold there is no mask to guess.
"""

from __future__ import annotations

from tunekit.data.columns import Row
from tunekit.data.conversation import Conversation, RowFault
from tunekit.data.marked import Span
from tunekit.data.template import ChatTemplate, TemplateRefusal


def by_prefixes(
    template: ChatTemplate, conversation: Conversation, messages: list[Row], text: str, turns: list[int], train: bool
) -> list[Span]:
    """The spans of turns of the assistant. Raises RowFault (`mask-not-derivable`)."""
    out: list[Span] = []
    for number in turns:
        role = conversation.turns[number].role
        if role != "assistant":
            raise _unstable(
                number, f"only turns of the assistant can be found by rendering prefixes, and it is {role}'s"
            )
        try:
            prompt = template.trace(messages[:number], True, conversation.tools).text
            upto = (
                text
                if number + 1 == len(messages)
                else template.trace(messages[: number + 1], False, conversation.tools).text
            )
        except TemplateRefusal as e:
            raise _unstable(number, f"it refuses the turns before: {e}") from e
        if not upto.startswith(prompt):
            raise _unstable(number, "the turn does not begin with the generation prompt")
        if not text.startswith(upto):
            raise _unstable(number, "later turns change how it is rendered")
        content = messages[number].get("content") or ""
        same = upto.startswith(content, len(prompt))
        close = len(prompt) + len(content) * same
        out.append(Span(len(prompt), len(upto), train, True, close))
    return out


def _unstable(turn: int, why: str) -> RowFault:
    return RowFault(
        "mask-not-derivable",
        f"turn {turn}: no mask can be derived from the chat template: it does not print messages in a loop over them, "
        f"or prints one's text in another's place, and it is not prefix-stable: {why}",
        'set another `chat_template` (for instance "chatml"), or train_on = "all"',
    )
