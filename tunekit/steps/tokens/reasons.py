"""What the masks noted of rows: counts by reason, and the first rows of each.

straddling         a token lies across the edge of what is trained, and carries no label
edge-space         white space at the end of a part whose neighbour has another flag: it straddles
no-end             a trained turn does not end with a token that generation stops at
off-prompt         a turn begins otherwise than the generation prompt ends
content-dropped    the template prints a message without its content
reasoning-dropped  the template prints a message without its reasoning
empty              the row has no token at all
"""

from __future__ import annotations

from typing import Any

import msgspec
import numpy as np
import pyarrow as pa

from tunekit.data.arrays import numpy_of

NAMED = 20  # rows and tokens that are named


class Reasons(msgspec.Struct):
    """Of one part; row numbers count from the chunk's first row."""

    turns: int = 0  # trained turns
    ended: int = 0  # those that end with a token that generation stops at
    counts: dict[str, int] = msgspec.field(default_factory=dict)  # by reason, how often
    rows: dict[str, list[int]] = msgspec.field(default_factory=dict)
    straddlers: list[tuple[int, int]] = msgspec.field(default_factory=list)  # (row, token)

    def note(self, reason: str, number: int, times: int) -> None:
        if not times:
            return
        self.counts[reason] = self.counts.get(reason, 0) + times
        rows = self.rows.setdefault(reason, [])
        if len(rows) < NAMED and number not in rows[-1:]:
            rows.append(number)


def reasons_of(rows: pa.Table) -> Reasons:
    """Those of a chunk, from what was found of each of its rows (columns of tunekit.steps.tokens.part.ROWS)."""
    columns = {name: rows.column(name) for name in rows.column_names}
    turns, ended, straddling = (numpy_of(columns[name]) for name in ("turns", "ended", "straddling"))
    out = Reasons(int(turns.sum()), int(ended.sum()))
    notes = np.diff(numpy_of(columns["notes"].combine_chunks().offsets))
    noted = np.flatnonzero(straddling | (turns - ended) | numpy_of(columns["empty"]) | notes)
    for number in noted.tolist():
        (row,) = rows.slice(number, 1).to_pylist()
        out.note("straddling", number, row["straddling"])
        out.note("no-end", number, row["turns"] - row["ended"])
        out.note("empty", number, int(row["empty"]))
        for reason in row["notes"]:
            out.note(reason, number, 1)
        out.straddlers += [(number, token) for token in row["straddlers"][: NAMED - len(out.straddlers)]]
    return out


def summed(parts: list[Reasons], first_rows: list[int]) -> dict[str, Any]:
    """Those of a dataset, by its own row numbers."""
    names = sorted({name for part in parts for name in part.counts})
    placed = list(zip(parts, first_rows, strict=True))
    return {
        "turns": sum(part.turns for part in parts),
        "ended": sum(part.ended for part in parts),
        "reasons": {
            name: {
                "count": sum(part.counts.get(name, 0) for part in parts),
                "rows": [first + row for part, first in placed for row in part.rows.get(name, [])][:NAMED],
            }
            for name in names
        },
        "straddling_tokens": [[first + row, token] for part, first in placed for row, token in part.straddlers][:NAMED],
    }
