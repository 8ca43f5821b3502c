"""Tools and tool calls are printed, or the row is refused: a template that knows none drops them without a word."""

from __future__ import annotations

import json
import re
from collections import Counter
from collections.abc import Iterator
from typing import Any

from tunekit.data.conversation import Conversation, RowFault
from tunekit.data.regions import Region

_ESCAPE = re.compile(r"\\(?:u[0-9a-fA-F]{4}|[nrtbf0\"'/\\])")
_NOISE = re.compile(r"[\W_]+")
_HINT = 'set a `chat_template` that knows tools (for instance "hermes"), or drop them with a `map`'


def check_calls(conversation: Conversation, text: str, regions: list[Region | None]) -> None:
    """Raises RowFault: `tool-calls-dropped`, `tools-dropped`."""
    for number, (turn, region) in enumerate(zip(conversation.turns, regions, strict=True)):
        if not turn.calls:
            continue
        said = text[region.start : region.end] if region else text
        names = Counter(call["name"] for call in turn.calls)
        for name, times in names.items():
            if said.count(name) < times:
                what = f"the call of `{name}`" if times == 1 else f"all {times} calls of `{name}`"
                raise _dropped(number, what)
        for call in turn.calls:
            for value in _words(call.get("arguments")):
                if not _is_in(value, said):
                    raise _dropped(number, f"the argument {value!r:.60} of `{call['name']}`")
    for tool in conversation.tools or []:
        name = tool.get("function", tool).get("name")
        if isinstance(name, str) and name not in text:
            raise RowFault("tools-dropped", f"the chat template does not print the tool `{name}`", _HINT)


def _dropped(turn: int, what: str) -> RowFault:
    return RowFault("tool-calls-dropped", f"turn {turn}: the chat template does not print {what}", _HINT)


def _words(value: Any) -> Iterator[str]:
    """The keys and strings of a value."""
    if isinstance(value, str):
        yield value
    elif isinstance(value, dict):
        for key, item in value.items():
            yield str(key)
            yield from _words(item)
    elif isinstance(value, list):
        for item in value:
            yield from _words(item)


def _is_in(value: str, said: str) -> bool:
    """Whether a text is printed, as it is, as JSON, or in a template's own way of quoting."""
    as_json = json.dumps(value, ensure_ascii=False)[1:-1]
    return value in said or as_json in said or _NOISE.sub("", value) in _NOISE.sub("", _ESCAPE.sub("", said))
