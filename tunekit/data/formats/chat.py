"""Conversations.

row    `{messages: [{role, content, …}], tools?, system?}`; other names by `fields` (`from`, `value`, `roles`, …)
form   chat `{messages, tools?}`; a `system` text becomes the first turn
"""

from __future__ import annotations

from collections.abc import Callable

from tunekit.data.columns import Row
from tunekit.data.formats.dialogue import with_system
from tunekit.data.formats.fault import Fault
from tunekit.data.formats.messages import Messages
from tunekit.data.formats.naming import Naming
from tunekit.data.formats.toml import fields_line
from tunekit.data.formats.tools import tools_of

COLUMNS = ("messages", "conversations", "conversation")
_NAMES: tuple[dict[str, str], ...] = ({}, {"role": "from", "content": "value"})


def normaliser(naming: Naming) -> Callable[[Row], Row]:
    messages = Messages(naming.fields)
    name = naming.names["messages"]

    def normalise(row: Row) -> Row:
        try:
            value = naming.need(row, "messages")
        except Fault as fault:
            raise _with_names(fault, row) from None
        turns = with_system(row, naming, messages(value, f"`{name}`"))
        tools = naming.find(row, "tools")
        made = {"messages": turns, "tools": None if tools is None else tools_of(tools, f"`{naming.names['tools']}`")}
        return naming.made(row, made, ("messages", "system", "tools"))

    return normalise


def detect(row: Row) -> list[dict[str, str]]:
    """Columns with conversations, each with the names that it needs."""
    found = [(column, names_of(row.get(column))) for column in COLUMNS]
    return [{"messages": column, **names} for column, names in found if names is not None]


def names_of(value: object) -> dict[str, str] | None:
    """How a list of messages calls roles and contents; None if it is no such list."""
    if not isinstance(value, list) or not value or not isinstance(value[0], dict):
        return None
    keys = value[0].keys()
    return next((n for n in _NAMES if {n.get("role", "role"), n.get("content", "content")} <= keys), None)


def _with_names(fault: Fault, row: Row) -> Fault:
    found = detect(row)
    return Fault(fault.reason, f"{fields_line(found[0])}, or write a `map`" if found else fault.hint)
