"""Rows of a form as who uses them takes them: what is JSON text or null in the columns is opened here."""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any

from tunekit.data.columns import Row
from tunekit.forms import FORMS

_PLAIN = {"role", "content"}
_TEXTS = ("reasoning_content", "content", "text")  # of a message, of a segment


def open_messages(messages: list[Row]) -> list[Row]:
    """Messages with keys that they have: a `content` (and `reasoning_content`) that is a string, or a list of
    parts `{type: "text", text, train?}` where parts are marked; `arguments` of tool calls as tables."""
    return [message if message.keys() == _PLAIN else _opened(message) for message in messages]


def open_tools(tools: str | None) -> list[Row] | None:
    """The `tools` of a row as a list of tables."""
    return json.loads(tools) if tools else None


def texts_of(row: Row, form: str) -> Iterator[str]:
    """All that is text in the columns of the form: what a vocabulary is learnt from. Of `rows`, whose columns may
    be anything, `text`, else `messages`, else `prompt`."""
    columns = FORMS[form] or next(((name,) for name in ("text", "messages", "prompt") if row.get(name)), ())
    for name in columns:
        value = row.get(name)
        for item in value if isinstance(value, list) else [value]:
            texts = [item.get(key) for key in _TEXTS] if isinstance(item, dict) else [item]
            yield from (text for text in texts if text and isinstance(text, str))


def _opened(message: Row) -> Row:
    out: Row = {key: value for key, value in message.items() if value is not None or key == "content"}
    for key, parts in (("content", "parts"), ("reasoning_content", "reasoning_parts")):
        if parts in out:
            out[key] = [{"type": "text", **_without_null(part)} for part in out.pop(parts)]
    if "tool_calls" in out:
        out["tool_calls"] = [_call(_without_null(call)) for call in out["tool_calls"]]
    return out


def _call(call: Row) -> Row:
    function = _without_null(call["function"])
    return call | {"function": function | {"arguments": json.loads(function["arguments"])}}


def _without_null(table: Row) -> dict[str, Any]:
    return {key: value for key, value in table.items() if value is not None}
