"""What to write into TOML."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping


def fields_line(fields: Mapping[str, str]) -> str:
    """`fields = { messages = "conversations" }`, without what is the default anyway."""
    said = [f"{key} = {json.dumps(value, ensure_ascii=False)}" for key, value in fields.items() if key != value]
    return f"fields = {{ {', '.join(said)} }}" if said else ""


def one_of(choices: Iterable[tuple[str, Mapping[str, str]]]) -> str:
    """The lines of each choice of format and fields, one under the other."""
    lines = ["\n    ".join(filter(None, [f'format = "{f}"', fields_line(fields)])) for f, fields in choices]
    return "\n    " + "\n  or\n    ".join(lines)
