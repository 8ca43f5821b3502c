"""How much of a dataset's rows, or of its tokens, had to be made."""

from __future__ import annotations

from typing import Any


def chunks(record: dict[str, Any]) -> str:
    """`3 of 512 chunks changed (1,204 rows made, 4,940 copied)`; empty for an action without parts."""
    parts = record.get("parts") or {}
    total, made = parts.get("total", 0), parts.get("made", 0)
    if not total:
        return ""
    if not made:
        return changed(total, 0)
    copied = parts.get("rows_copied", 0)
    rows = f"({parts['rows_made']:,} row{'s' * (parts['rows_made'] != 1)} made" + (
        f", {copied:,} copied)" if copied else ")"
    )
    return f"{_chunks(total)} {rows}" if made == total and not copied else f"{changed(total, made)} {rows}"


def changed(total: int, made: int) -> str:
    """`3 of 512 chunks changed`."""
    return f"{made} of {_chunks(total)} changed" if made else f"{_chunks(total)}, none of them changed"


def _chunks(total: int) -> str:
    return f"{total} chunk{'s' * (total != 1)}"
