"""Whether every message is printed in its own region, and nothing of another's in a turn that is to be found.

Looked at with marks (probe.py) in a made-up conversation of the same kind, once; and in every row by looking for its
texts. Where one of the two finds a text amiss, marks in the row itself tell: it was dropped, or printed elsewhere. So
what is found of a row depends on that row alone.
"""

from __future__ import annotations

from typing import Any

from tunekit.data.columns import Row
from tunekit.data.conversation import Conversation, RowFault, conversation_of
from tunekit.data.probe import Place, core_of, find
from tunekit.data.regions import Region, regions_of
from tunekit.data.template import ChatTemplate, TemplateRefusal, Trace

# Texts of a message that is printed, but without them. Templates drop the reasoning of earlier turns on purpose.
DROPPED = {"content": "content-dropped", "reasoning_content": "reasoning-dropped"}

_Field = tuple[int, str]
_BEGIN = 32  # characters


class Attribution:
    """What is known of one template."""

    def __init__(self, template: ChatTemplate) -> None:
        self._template = template
        self._plain: dict[Any, bool] = {}  # kind of conversation → all is where it should be

    def check(
        self,
        messages: list[Row],
        conversation: Conversation,
        trace: Trace,
        regions: list[Region | None],
        turns: list[int],
    ) -> list[str] | None:
        """What the template drops (values of DROPPED), or None where the regions of `turns`, the assistant's that
        are to be found, are not to be believed. Raises RowFault (`message-dropped`)."""
        kind = (
            tuple((turn.role, *turn.texts, len(turn.calls)) for turn in conversation.turns),
            bool(conversation.tools),
            *turns,
        )
        if kind not in self._plain:
            self._plain[kind] = self._is_plain(conversation, turns)
        if self._plain[kind] and not _missing(conversation, trace.text, regions):
            return []
        places = self._look(messages, conversation, trace.text)
        if places is None:
            return None
        _refuse_lost(conversation, places)
        if not _at_home(places, regions, turns):
            return None
        return [DROPPED[field] for (_, field), found in places.items() if not found]

    def is_clean(
        self, messages: list[Row], conversation: Conversation, text: str, spans: dict[int, tuple[int, int]]
    ) -> bool:
        """Whether nothing of another message is printed within the characters of each turn, by its number."""
        places = self._look(messages, conversation, text)
        return places is not None and not any(
            other != number and start < at < end
            for (number, _), found in places.items()
            for at in found
            for other, (start, end) in spans.items()
        )

    def _is_plain(self, conversation: Conversation, turns: list[int]) -> bool:
        """Whether every text of a conversation of this kind is printed, and where it should be."""
        sample = _sample(conversation)
        for messages in sample.variants():
            try:
                trace = self._template.trace(messages, tools=sample.tools)
            except TemplateRefusal:
                continue
            places = self._look(messages, sample, trace.text)
            regions = regions_of(trace, len(messages))
            return places is not None and all(places.values()) and _at_home(places, regions, turns)
        return False

    def _look(self, messages: list[Row], conversation: Conversation, text: str) -> dict[_Field, list[int]] | None:
        """Where every text of every message is printed; None if marks change what is printed. A mark may get lost
        where its text does not (in front of a `<think>` that is cut out), so several places are tried before it is
        believed."""

        def render(given: list[Row]) -> str:
            return self._template.trace(given, tools=conversation.tools).text

        wanted = {
            (number, field): core_of(said)
            for number, turn in enumerate(conversation.turns)
            for field, said in turn.texts.items()
            if said.strip()
        }
        places: dict[_Field, list[int]] = {}
        known = False
        for at in (lambda start, end: min(start + 1, end - 1), lambda start, end: start, lambda start, end: end):
            left = [field for field in wanted if not places.get(field)]
            found = (
                find(render, messages, [Place(*field, at(*wanted[field])) for field in left], text) if left else None
            )
            if found is not None:
                known = True
                places |= dict(zip(left, found, strict=True))
        return places if known or not wanted else None


def _sample(conversation: Conversation) -> Conversation:
    """A conversation of the same kind: roles, which texts there are, calls and tools."""
    call = {"type": "function", "id": "call00000", "function": {"name": "find", "arguments": '{"what": "it"}'}}
    what = {"type": "object", "properties": {"what": {"type": "string", "description": "What."}}, "required": ["what"]}
    tool = {"type": "function", "function": {"name": "find", "description": "Finds.", "parameters": what}}
    messages = []
    for number, turn in enumerate(conversation.turns):
        message: Row = {"role": turn.role, "content": "", "tool_calls": [call] * len(turn.calls)}
        if turn.role == "tool":
            message |= {"name": "find", "tool_call_id": "call00000"}
        messages.append(message | {field: f"{field.title()} {number}." for field in turn.texts})
    return conversation_of({"messages": messages, "tools": [tool] if conversation.tools else None})


def _missing(conversation: Conversation, text: str, regions: list[Region | None]) -> bool:
    """Whether some text is not found where it should be."""
    for turn, region in zip(conversation.turns, regions, strict=True):
        start, end = (region.start, region.end) if region else (0, len(text))
        for said in turn.texts.values():
            core = said.strip()
            at = text.find(core[:_BEGIN], start, end)  # a search for a long text begins with a study of it
            if not text.startswith(core, at, end) and text.find(core, start, end) < 0:
                return True
    return False


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
