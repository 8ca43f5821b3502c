"""A row without tokens as lines: columns, and conversations turn by turn."""

from __future__ import annotations

import json
from typing import Any

from tunekit.report.look.visible import lined

_SHORT = 80  # characters of a value that stands beside its name


def row_lines(fields: dict[str, Any]) -> list[str]:
    """Every column that is not null."""
    return [line for name, value in fields.items() if value is not None for line in _column(name, value)]


def _column(name: str, value: Any) -> list[str]:
    if isinstance(value, list) and value and all(isinstance(item, dict) and "role" in item for item in value):
        return [*_named(name, ""), *(f"  {line}" for message in value for line in _message(message))]
    return _named(name, value)


def _message(message: dict[str, Any]) -> list[str]:
    lines = _named(str(message["role"]), message.get("content") or "")
    more = {k: v for k, v in message.items() if k not in ("role", "content") and v not in (None, [], "")}
    return [*lines, *(f"  {line}" for name, value in more.items() for line in _named(name, value))]


def _named(name: str, value: Any) -> list[str]:
    name = name.replace("\n", "\\n")
    text = lined(value if isinstance(value, str) else json.dumps(value, ensure_ascii=False))
    if "\n" not in text and len(text) <= _SHORT:
        return [f"{name}: {text}" if text else f"{name}:"]
    return [f"{name}:", *(f"  {line}" for line in text.split("\n"))]
