"""How much of a dataset's rows, or of its tokens, had to be made."""

from __future__ import annotations

from typing import Any


def chunks(record: dict[str, Any]) -> str:
    """`3 of 512 chunks changed (1,204 rows made, 4,940 copied)`; empty for an action without parts."""
    parts = record.get("parts") or {}
    total, made = parts.get("total", 0), parts.get("made", 0)
    if not total:
        return ""
    every = f"{total} chunk{'s' * (total != 1)}"
    if not made:
        return f"{every}, none of them changed"
    copied = parts.get("rows_copied", 0)
    rows = f"({parts['rows_made']:,} rows made" + (f", {copied:,} copied)" if copied else ")")
    return f"{every} {rows}" if made == total and not copied else f"{made} of {every} changed {rows}"
