"""A chat row, checked: what the template is given, and what the row itself says is trained.

A message: `role`, `content` (a string or parts), maybe `reasoning_content` (the same), `tool_calls`,
`tool_call_id`, `name`, and what it says of its training: `train` or `weight` (1 and 0 are true and false, as in
OpenAI's and Axolotl's files; there is nothing between). A part: `{text, train?, weight?}`. `parts` and
`reasoning_parts` beside the whole text are the same parts. What a field does not say is None or missing.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any, NamedTuple

from tunekit.data.columns import Row
from tunekit.forms import ROLES

FIELDS = {"content": "parts", "reasoning_content": "reasoning_parts"}
_PLAIN = {"role", "content"}
_TRAINING = {"train", "weight", "parts", "reasoning_parts"}
_PART = {"type", "text", "train", "weight"}


class RowFault(Exception):
    """Why a row cannot be encoded, and the way out. The encoder adds the row's number."""

    def __init__(self, slug: str, message: str, hint: str = "") -> None:
        super().__init__(message)
        self.slug = slug
        self.hint = hint


class Part(NamedTuple):
    """Characters [start, end) of a field's text. `train`: None where it says nothing."""

    start: int
    end: int
    train: bool | None


class Turn(NamedTuple):
    """One message as masks see it. `texts`: its fields that have text; `parts`: those of fields where some part
    says what is trained, without gaps; `calls`: the functions it calls."""

    role: str
    texts: dict[str, str]
    parts: dict[str, list[Part]]
    train: bool | None
    calls: list[Row]


class Conversation(NamedTuple):
    """`messages`: what the template is given."""

    messages: list[Row]
    turns: list[Turn]
    tools: list[Row] | None

    def variants(self) -> Iterator[list[Row]]:
        """Messages as templates may want them: the arguments of a call as a table, as documented, or as text, and
        the missing content beside it as empty text, or as null (which some templates print as `None`)."""
        yield self.messages
        if any(turn.calls for turn in self.turns):
            yield _altered(self.messages, null=True, arguments=False)
            yield _altered(self.messages, null=False, arguments=True)
            yield _altered(self.messages, null=True, arguments=True)


def conversation_of(row: Row) -> Conversation:
    """A row's conversation. Raises RowFault (`no-messages`, `unknown-role`, `unknown-part`, `bad-weight`, …)."""
    found = row.get("messages")
    if not isinstance(found, list) or not found:
        raise RowFault("no-messages", "there are no messages", "look at what `map` and the format make of the row")
    messages: list[Row] = []
    turns: list[Turn] = []
    for number, raw in enumerate(found):
        given = {k: v for k, v in raw.items() if v is not None} if isinstance(raw, dict) else {}
        role, content = given.get("role"), given.get("content")
        if role not in ROLES:
            hint = f"roles are {', '.join(ROLES)}; name another one in the dataset's `fields.roles`"
            raise RowFault("unknown-role", f"turn {number} has role {role!r}", hint)
        if given.keys() == _PLAIN and isinstance(content, str):  # most messages of most datasets
            messages.append(given)
            turns.append(Turn(role, {"content": content} if content else {}, {}, None, []))
        else:
            message, turn = _message(given, number)
            messages.append(message)
            turns.append(turn)
    return Conversation(messages, turns, _tools(row.get("tools")))


def _message(given: Row, number: int) -> tuple[Row, Turn]:
    texts: dict[str, str] = {}
    parts: dict[str, list[Part]] = {}
    for field, beside in FIELDS.items():
        text, found = _text(given.get(beside) or given.get(field), f"turn {number}, {field}")
        if text is not None:
            texts[field] = text
        if any(part.train is not None for part in found):
            parts[field] = found
    calls = [_call(call, f"turn {number}") for call in given.get("tool_calls") or []]
    if "content" not in texts and not calls and "reasoning_content" not in texts:
        raise RowFault("no-content", f"turn {number} has no content", "drop it with a `map`")
    message: Row = {k: v for k, v in given.items() if k not in _TRAINING}
    message["content"] = texts.get("content", "")
    if "reasoning_content" in texts:  # the names that templates read it by, as Transformers gives them
        message["thinking"] = message["reasoning_content"] = texts["reasoning_content"]
    if calls:
        message["tool_calls"] = calls
    else:
        message.pop("tool_calls", None)
    functions = [call.get("function", call) for call in calls]
    held = {field: text for field, text in texts.items() if text}
    return message, Turn(given["role"], held, parts, _flag(given, f"turn {number}"), functions)


def _text(value: Any, where: str) -> tuple[str | None, list[Part]]:
    """The text of a string or of parts, and the parts."""
    if value is None or isinstance(value, str):
        return value, []
    if not isinstance(value, list):
        raise RowFault("wrong-content", f"{where} is {value!r:.60}, not a string or a list of parts")
    text, parts = "", []
    for number, part in enumerate(value):
        at = f"{where}, part {number}"
        said = {k: v for k, v in part.items() if v is not None} if isinstance(part, dict) else {}
        if said.get("type", "text") != "text" or not isinstance(said.get("text"), str) or said.keys() - _PART:
            raise RowFault(
                "unknown-part", f"{at} is {part!r:.80}", 'a part is {type: "text", text, train?, weight?}, nothing else'
            )
        if said["text"]:
            parts.append(Part(len(text), len(text) + len(said["text"]), _flag(said, at)))
            text += said["text"]
    return text, parts


def _flag(said: Row, where: str) -> bool | None:
    """`train`, or `weight` as true and false; None if neither is there."""
    flags = {}
    for key in ("train", "weight"):
        value = said.get(key)
        if value is None:
            continue
        if not isinstance(value, (bool, int, float)) or value not in (0, 1):
            hint = "a weight is 1 (trained) or 0 (not); to see a row less often, give its dataset a `weight`"
            raise RowFault("bad-weight", f"{where}: `{key}` is {value!r}", hint)
        flags[key] = bool(value)
    if len(set(flags.values())) > 1:
        raise RowFault("bad-weight", f"{where}: `train` and `weight` contradict each other", "keep one of them")
    return next(iter(flags.values()), None)


def _call(call: Any, where: str) -> Row:
    """A tool call with its arguments as a table, and without the nulls that a column fills in."""
    made = _without_null(call) if isinstance(call, dict) else {}
    function = made.get("function", made)
    if not isinstance(function, dict) or not isinstance(function.get("name"), str) or not function["name"]:
        hint = 'a call is {type: "function", function: {name, arguments}}'
        raise RowFault("bad-tool-call", f"{where}: the tool call {call!r:.80} has no function with a name", hint)
    arguments = function.get("arguments", {})
    if isinstance(arguments, str):
        arguments = _json(arguments, f"{where}: the arguments of {function['name']}")
    function = function | {"arguments": arguments}
    return made | {"function": function} if "function" in made else function


def _tools(tools: Any) -> list[Row] | None:
    found = _json(tools, "`tools`") if isinstance(tools, str) and tools else tools
    if not found:
        return None
    if not isinstance(found, list) or not all(isinstance(tool, dict) for tool in found):
        raise RowFault("bad-tools", f"`tools` is {found!r:.80}, not a list of tables")
    return [_without_null(tool) for tool in found] if found is tools else found


def _json(text: str, where: str) -> Any:
    try:
        return json.loads(text)
    except (ValueError, RecursionError) as e:
        raise RowFault("bad-tool-call", f"{where} are not JSON: {e}") from e


def _without_null(value: Any) -> Any:
    if isinstance(value, dict):
        return {k: _without_null(v) for k, v in value.items() if v is not None}
    return [_without_null(v) for v in value] if isinstance(value, list) else value


def _altered(messages: list[Row], *, null: bool, arguments: bool) -> list[Row]:
    out = []
    for message in messages:
        made = dict(message)
        if null and "tool_calls" in made and not made["content"]:
            made["content"] = None
        if arguments and "tool_calls" in made:
            made["tool_calls"] = [_with_text(call) for call in made["tool_calls"]]
        out.append(made)
    return out


def _with_text(call: Row) -> Row:
    function = call.get("function", call)
    text = json.dumps(function["arguments"], ensure_ascii=False)
    return call | {"function": function | {"arguments": text}} if "function" in call else call | {"arguments": text}
