"""Whether every message is printed in its own region, and nothing of another's in a turn that is to be found.

Looked at with marks in every message (probe.py) once for every kind of conversation, and in every row by looking
for the texts. Where a text is not where it should be, marks tell: it was dropped, or printed elsewhere.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from tunekit.data.columns import Row
from tunekit.data.conversation import Conversation, RowFault
from tunekit.data.probe import Place, core_of, find
from tunekit.data.regions import Region

# Texts of a message that is printed, but without them. Templates drop the reasoning of earlier turns on purpose.
DROPPED = {"content": "content-dropped", "reasoning_content": "reasoning-dropped"}

_Field = tuple[int, str]


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
        turns: list[int],
    ) -> list[str] | None:
        """What the template drops (values of DROPPED), or None where the regions of `turns`, the assistant's that
        are to be found, are not to be believed. Raises RowFault (`message-dropped`)."""
        shape = (
            tuple((turn.role, *turn.texts, len(turn.calls)) for turn in conversation.turns),
            bool(conversation.tools),
            *turns,
        )
        if shape in self._seen and not _missing(conversation, text, regions):
            return []
        places = _look(render, messages, conversation, text)
        if places is None:
            return None
        _refuse_lost(conversation, places)
        if not _at_home(places, regions, turns):
            return None
        self._seen.add(shape)
        return [DROPPED[field] for (_, field), found in places.items() if not found]


def _missing(conversation: Conversation, text: str, regions: list[Region | None]) -> bool:
    """Whether some text is not found where it should be."""
    for turn, region in zip(conversation.turns, regions, strict=True):
        start, end = (region.start, region.end) if region else (0, len(text))
        if any(text.find(said.strip(), start, end) < 0 for said in turn.texts.values()):
            return True
    return False


def _look(
    render: Callable[[list[Row]], str], messages: list[Row], conversation: Conversation, text: str
) -> dict[_Field, list[int]] | None:
    """Where every text of every message is printed; None if marks change what is printed. A mark may get lost where
    its text does not (in front of a `<think>` that is cut out), so several places are tried before it is believed."""
    places: dict[_Field, list[int]] = {}
    known = False
    wanted = {
        (n, f): core_of(t) for n, turn in enumerate(conversation.turns) for f, t in turn.texts.items() if t.strip()
    }
    for at in (lambda start, end: min(start + 1, end - 1), lambda start, end: start, lambda start, end: end):
        left = [field for field in wanted if not places.get(field)]
        found = find(render, messages, [Place(*field, at(*wanted[field])) for field in left], text) if left else None
        if found is not None:
            known = True
            places |= dict(zip(left, found, strict=True))
    return places if known or not wanted else None


def _at_home(places: dict[_Field, list[int]], regions: list[Region | None], turns: list[int]) -> bool:
    """Whether what is printed of each message lies in its region, and of others nothing in the regions of `turns`."""
    guarded = [(number, region) for number in turns if (region := regions[number])]
    for (number, _), found in places.items():
        own = regions[number]
        for at in found:
            if own and not own.start <= at <= own.end:
                return False
            if any(other != number and region.start < at < region.end for other, region in guarded):
                return False
    return True


def _refuse_lost(conversation: Conversation, places: dict[_Field, list[int]]) -> None:
    for number, turn in enumerate(conversation.turns):
        said = [found for (n, _), found in places.items() if n == number]
        if (number, "content") in places and not turn.calls and not any(said):
            raise RowFault(
                "message-dropped",
                f"the chat template prints nothing of turn {number} ({turn.role})",
                "drop the message with a `map`, or set another `chat_template`",
            )
