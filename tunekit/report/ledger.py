"""What became of a dataset's rows, as records tell it."""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any

from tunekit.report.look.words import count
from tunekit.report.settings import flat

_NAMED = 10  # row numbers that are written out


def ledgers(effective: dict[str, Any]) -> Iterator[tuple[str, dict[str, Any]]]:
    """`(whose rows, ledger)` of what took effect: of a dataset itself (no name), or of each that was read."""
    found = effective.get("ledger", {})
    if isinstance(found, dict):
        lists = [part for part in found.values() if _each(part, "dataset")]
        for part in lists:
            for line in part:
                yield line["dataset"], {name: value for name, value in line.items() if name != "dataset"}
        if found and not lists:
            yield "", found
    items = effective.get("items", [])
    if _each(items, "ledger"):
        for item in items:
            yield item["data"], item["ledger"]


def rows_of(counts: dict[str, Any]) -> list[tuple[str, str]]:
    """A line for all that is not nothing."""
    return [(name, _value(value)) for name, value in flat(counts) if value not in (0, [], {}, None, "")]


def _each(part: Any, key: str) -> bool:
    return isinstance(part, list) and bool(part) and all(isinstance(line, dict) and key in line for line in part)


def _value(value: Any) -> str:
    if isinstance(value, list):
        shown = [json.dumps(item, ensure_ascii=False) for item in value[:_NAMED]]
        return ", ".join(shown) + (", …" if len(value) > _NAMED else "")
    if isinstance(value, (int, float)) and not isinstance(value, bool):
        return count(value)
    return str(value)
