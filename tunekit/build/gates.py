"""Gates: bounds on what a record measured. Never in a key: a changed bound is only looked at again."""

from __future__ import annotations

from typing import Any, NamedTuple

from tunekit.bounds import bound, holds


class Receipt(NamedTuple):
    """What was measured, what was wanted."""

    name: str
    passed: bool
    measured: Any
    wanted: str

    def __str__(self) -> str:
        return f"gate {self.name}: measured {self.measured}, wanted {self.wanted}"


def judge(gates: dict[str, str], record: dict[str, Any]) -> list[Receipt]:
    """Receipts for a target's gates against its record's summary; a metric that is not there does not pass."""
    summary = record.get("effective", {}).get("summary", {})
    out = []
    for name, text in gates.items():
        found = bound(text)
        value = summary.get(name)
        ok = found is not None and isinstance(value, (int, float)) and holds(found, value)
        out.append(Receipt(name, bool(ok), value, text))
    return out
