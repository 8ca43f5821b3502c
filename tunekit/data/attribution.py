"""Whether every message is printed in its own region, and nothing of another's in a region that is trained on.

Looked at with marks in every message (probe.py) once for every kind of conversation, and in every row by looking
for the texts. Where a text is not where it should be, marks tell: it was dropped, or printed elsewhere.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from tunekit.data.columns import Row
from tunekit.data.conversation import Conversation, RowFault
from tunekit.data.probe import Place, core_of, find_any
from tunekit.data.regions import Region

# Texts of a message that is printed, but without them. Templates drop the reasoning of earlier turns on purpose.
DROPPED = {"content": "content-dropped", "reasoning_content": "reasoning-dropped"}


class Attribution:
    """What is known of one template."""

    def __init__(self) -> None:
        self._seen: set[Any] = set()

    def check(
        self,
        render: Callable[[list[Row]], str],
        messages: list[Row],
        conversation: Conversation,
        text: str,
        regions: list[Region | None],
    ) -> list[str] | None:
        """What the template drops (values of DROPPED), or None where regions are not to be believed.

        Raises RowFault (`message-dropped`).
        """
        shape = (tuple((t.role, *t.texts, len(t.calls)) for t in conversation.turns), bool(conversation.tools))
        if shape in self._seen and not _missing(conversation, text, regions):
            return []
        dropped = _look(render, messages, conversation, text, regions)
        if dropped is not None:
            self._seen.add(shape)
        return dropped


def _missing(conversation: Conversation, text: str, regions: list[Region | None]) -> bool:
    """Whether some text is not found where it should be."""
    for turn, region in zip(conversation.turns, regions, strict=True):
        start, end = (region.start, region.end) if region else (0, len(text))
        if any(text.find(said.strip(), start, end) < 0 for said in turn.texts.values()):
            return True
    return False


def _look(
    render: Callable[[list[Row]], str],
    messages: list[Row],
    conversation: Conversation,
    text: str,
    regions: list[Region | None],
) -> list[str] | None:
    fields = [
        (n, field) for n, turn in enumerate(conversation.turns) for field, said in turn.texts.items() if said.strip()
    ]
    cores = {key: core_of(conversation.turns[key[0]].texts[key[1]]) for key in fields}
    choices = (
        [Place(n, field, at(*cores[n, field])) for n, field in fields]
        for at in (lambda a, b: min(a + 1, b - 1), lambda a, b: a, lambda a, b: b)
    )
    found = find_any(render, messages, choices, text)
    if found is None:
        return None
    dropped = []
    for (n, field), places in zip(fields, found, strict=True):
        own = regions[n]
        if not places:
            dropped.append((n, field))
        for other, region in enumerate(regions):
            if region and other != n and any(region.start <= at < region.end for at in places):
                return None
        if own and any(not own.start <= at <= own.end for at in places):
            return None
    for n, turn in enumerate(conversation.turns):
        texts = [field for m, field in fields if m == n]
        if "content" in texts and not turn.calls and all((n, field) in dropped for field in texts):
            raise RowFault(
                "message-dropped",
                f"the chat template prints nothing of turn {n} ({turn.role})",
                "drop the message with a `map`, or set another `chat_template`",
            )
    return [DROPPED[field] for _, field in dropped]
