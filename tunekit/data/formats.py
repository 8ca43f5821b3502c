"""Row shapes: what a `chat`, `completion`, `prompt` or `rows` row must look like. Strict, so that a wrong row
is found here with its number and not in the middle of a training run."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, NamedTuple

from tunekit.data.columns import Row

ROLES = ("system", "user", "assistant", "tool")


class Fault(NamedTuple):
    """Why a row is not of its shape, and the way out."""

    reason: str
    hint: str


def fault_of(shape: str, row: Row) -> Fault | None:
    """What is wrong with a row of `shape`, or None. KeyError for an unknown shape."""
    return _CHECKS[shape](row)


def _chat(row: Row) -> Fault | None:
    way_out = 'a chat row is {"messages": [{"role": "user", "content": "…"}, …]}; write a `map` that makes it so'
    if "messages" not in row:
        return Fault(f"has no `messages` (columns: {_names(row)})", way_out)
    reason = messages_fault(row["messages"])
    return Fault("`messages` " + reason, way_out) if reason else None


def _completion(row: Row) -> Fault | None:
    way_out = 'a completion row is {"text": "…"}; write a `map` that makes it so'
    if "text" not in row:
        return Fault(f"has no `text` (columns: {_names(row)})", way_out)
    return None if _is_text(row["text"]) else Fault(f"`text` is {_value(row['text'])}, not a non-empty string", way_out)


def _prompt(row: Row) -> Fault | None:
    way_out = 'a prompt row is {"prompt": "…" or a list of messages, …}; write a `map` that makes it so'
    if "prompt" not in row:
        return Fault(f"has no `prompt` (columns: {_names(row)})", way_out)
    prompt = row["prompt"]
    if isinstance(prompt, list):
        reason = messages_fault(prompt)
        return Fault("`prompt` " + reason, way_out) if reason else None
    return None if _is_text(prompt) else Fault(f"`prompt` is {_value(prompt)}, not a non-empty string", way_out)


def messages_fault(messages: Any) -> str:
    """Why `messages` is not a non-empty list of `{role, content}`; "" if it is one."""
    if not isinstance(messages, list):
        return f"is {_value(messages)}, not a list"
    if not messages:
        return "is an empty list"
    for turn, message in enumerate(messages):
        if not isinstance(message, dict):
            return f"turn {turn} is {_value(message)}, not a table"
        if message.get("role") not in ROLES:
            return f"turn {turn} has role {_value(message.get('role'))}, not one of {', '.join(ROLES)}"
        if not isinstance(message.get("content"), str):
            return f"turn {turn} has content {_value(message.get('content'))}, not a string"
    return ""


def _is_text(value: Any) -> bool:
    return isinstance(value, str) and value != ""


def _value(value: Any) -> str:
    text = repr(value)
    return text if len(text) <= 60 else text[:57] + "…"


def _names(row: Row) -> str:
    return ", ".join(sorted(row)) or "none"


_CHECKS: dict[str, Callable[[Row], Fault | None]] = {
    "chat": _chat,
    "completion": _completion,
    "prompt": _prompt,
    "rows": lambda row: None,
}
