"""What to write into TOML."""

from __future__ import annotations

import json
from collections.abc import Mapping


def fields_line(fields: Mapping[str, str]) -> str:
    """`fields = { messages = "conversations" }`, without what is the default anyway."""
    said = [f"{key} = {json.dumps(value, ensure_ascii=False)}" for key, value in fields.items() if key != value]
    return f"fields = {{ {', '.join(said)} }}" if said else ""


def format_line(format: str, fields: Mapping[str, str]) -> str:
    """`format = "chat", fields = { … }`."""
    return ", ".join(filter(None, [f'format = "{format}"', fields_line(fields)]))
