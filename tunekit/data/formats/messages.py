"""Lists of messages, whatever they are called, as `{role, content, …}`.

A message of the form: `role` (one of ROLES), `content` (a string; null only beside `tool_calls` or
`reasoning_content`), and, where they are said: `parts` (of the content: `{text, train?}`), `reasoning_content`,
`reasoning_parts`, `tool_calls` (arguments as JSON text), `tool_call_id`, `name`, `train`, and any other key, which
a template may read. No white space is touched.
"""

from __future__ import annotations

from collections.abc import Mapping
from difflib import get_close_matches
from typing import Any

from tunekit.data.columns import Row
from tunekit.data.formats.fault import Fault, shown, text
from tunekit.data.formats.parts import joined, marked, train_flag
from tunekit.data.formats.tools import calls_of
from tunekit.forms import MESSAGE, ROLE_NAMES, ROLES

_LISTS = 'messages are [{"role": "user", "content": "…"}, …]; write a `map` that makes them so'
# A misspelt one of these would train on what was to be masked, or hide a call from the template.
_CONTROL = ["train", "weight", "train_detail", "parts", "reasoning_content", "tool_calls", "tool_call_id"]


class Messages:
    """Makes messages of a dataset's own naming into messages of the form."""

    def __init__(self, fields: Mapping[str, Any]) -> None:
        self._key = {name: str(fields.get(name, name)) for name in MESSAGE}
        self._own = {*self._key.values(), "parts", "reasoning_parts"}
        self._roles = {role: role for role in ROLES} | ROLE_NAMES | dict(fields.get("roles", {}))
        self._plain = {self._key["role"], self._key["content"]}
        self._unsuspected: set[str] = set()

    def __call__(self, value: Any, name: str) -> list[Row]:
        """A list of at least one message. Raises Fault; `name` is what it calls the list."""
        if not isinstance(value, list):
            raise Fault(f"{name} is {shown(value)}, not a list", _LISTS)
        if not value:
            raise Fault(f"{name} is an empty list", _LISTS)
        return [self._message(message, name, turn) for turn, message in enumerate(value)]

    def _message(self, raw: Any, name: str, turn: int) -> Row:
        where = f"{name} turn {turn}"
        if not isinstance(raw, dict):
            raise Fault(f"{where} is {shown(raw)}, not a table", _LISTS)
        said = {key: value for key, value in raw.items() if value is not None}
        if said.keys() == self._plain:  # most messages of most datasets
            who, content = said[self._key["role"]], said[self._key["content"]]
            if isinstance(who, str) and who in self._roles and isinstance(content, str):
                return {"role": self._roles[who], "content": content}
        role = self._role(raw, where)
        made: Row = {"role": role}
        calls = self._get(raw, "tool_calls")
        made["tool_calls"] = None if calls is None else calls_of(calls, f"{where} `tool_calls`")
        reasoning = self._text(raw, "reasoning_content", "reasoning_parts", where)
        made["reasoning_content"], made["reasoning_parts"] = reasoning
        if role != "assistant" and (made["tool_calls"] or made["reasoning_content"]):
            raise Fault(f"{where} is a {role}'s and has tool calls or reasoning", "only an assistant has them")
        if role != "assistant":
            made["reasoning_content"] = made["reasoning_parts"] = None
        content = self._content(raw, made, where)
        for key in ("tool_call_id", "name"):
            value = self._get(raw, key)
            made[key] = None if value is None else text(value, f"{where} `{key}`", empty=True)
        made["train"] = train_flag(raw, self._key["train"], self._key["weight"], where)
        out = {key: value for key, value in made.items() if value is not None} | content
        return out | self._others(raw, out, where)

    def _get(self, raw: Row, key: str) -> Any:
        return raw.get(self._key[key])

    def _role(self, raw: Row, where: str) -> str:
        role = self._get(raw, "role")
        if not isinstance(role, str) or role not in self._roles:
            if self._key["role"] not in raw:
                keys = ", ".join(sorted(map(str, raw))) or "none"
                raise Fault(f"{where} has no `{self._key['role']}` (keys: {keys})", _LISTS)
            hint = f'say what it is: fields.roles = {{ {shown(role)} = "user" }}, or one of {", ".join(ROLES)}'
            raise Fault(f"{where} has role {shown(role)}, not one of {', '.join(self._roles)}", hint)
        return str(self._roles[role])

    def _content(self, raw: Row, made: Row, where: str) -> Row:
        """`content`, and `parts` where stretches of it are marked. Raises Fault."""
        content, parts = self._text(raw, "content", "parts", where)
        details = self._get(raw, "train_detail")
        details = None if details == [] else details
        if content is None and details is not None:
            raise Fault(f"{where} has `{self._key['train_detail']}` and no content", "drop it with a `map`")
        if content is None:
            if not made["tool_calls"] and made["reasoning_content"] is None:
                key = self._key["content"]
                what = "content null" if key in raw else f"no `{key}` (keys: {', '.join(sorted(map(str, raw)))})"
                raise Fault(f"{where} has {what}", _LISTS)
            return {"content": None}
        if details is not None:
            if parts is not None:
                raise Fault(f"{where} has marked parts and `{self._key['train_detail']}`", "keep one of them")
            parts = marked(content, details, f"{where} `{self._key['train_detail']}`")
        return {"content": content} | ({"parts": parts} if parts else {})

    def _text(self, raw: Row, key: str, parts_key: str, where: str) -> tuple[str | None, list[Row] | None]:
        """A text and its marked parts: it is a string or a list of parts, or both are there and agree."""
        value, parts = self._get(raw, key), raw.get(parts_key)
        if value is None and parts is None:
            return None, None
        given = value if parts is None else parts
        if isinstance(given, str):
            return given, None
        if not isinstance(given, list):
            raise Fault(f"{where} has {key} {shown(given)}, not a string or a list of parts", _LISTS)
        whole, made = joined(given, f"{where} {key}")
        if parts is not None and value is not None and value != whole:
            raise Fault(f"{where}: `{parts_key}` put together are not its `{self._key[key]}`", "keep one of them")
        return whole, made

    def _others(self, raw: Row, made: Row, where: str) -> Row:
        others = {key: value for key, value in raw.items() if key not in self._own and value is not None}
        for key in others:
            if key in made or key in MESSAGE:
                raise Fault(f"{where} has a key `{key}` of its own", "rename or drop it with a `map`")
            if key not in self._unsuspected:
                close = get_close_matches(str(key), _CONTROL, n=1, cutoff=0.76)
                if close:
                    same = f', or say that it is the same: fields = {{ {close[0]} = "{key}" }}'
                    hint = "rename it with a `map`" + (same if close[0] in MESSAGE else "")
                    raise Fault(f"{where} has `{key}`, which is not `{close[0]}`", hint)
                self._unsuspected.add(key)
        return others
