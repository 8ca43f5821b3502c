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

from tunekit.data.encoder import Encoded

_NAMED = 20  # rows and tokens that are named


class Reasons(msgspec.Struct):
    """Of one part; row numbers count from the chunk's first row."""

    turns: int = 0  # trained turns
    ended: int = 0  # those that end with a token that generation stops at
    counts: dict[str, int] = msgspec.field(default_factory=dict)  # by reason, how often
    rows: dict[str, list[int]] = msgspec.field(default_factory=dict)
    straddlers: list[tuple[int, int]] = msgspec.field(default_factory=list)  # (row, token)

    def add(self, number: int, row: Encoded) -> None:
        self.turns += row.turns
        self.ended += row.ended
        self._note("straddling", number, row.straddling)
        self._note("no-end", number, row.turns - row.ended)
        self._note("empty", number, not row.input_ids)
        for reason in row.notes:
            self._note(reason, number, 1)
        self.straddlers += [(number, token) for token in row.straddlers[: _NAMED - len(self.straddlers)]]

    def _note(self, reason: str, number: int, times: int) -> None:
        if not times:
            return
        self.counts[reason] = self.counts.get(reason, 0) + times
        rows = self.rows.setdefault(reason, [])
        if len(rows) < _NAMED and number not in rows[-1:]:
            rows.append(number)


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
                "rows": [first + row for part, first in placed for row in part.rows.get(name, [])][:_NAMED],
            }
            for name in names
        },
        "straddling_tokens": [[first + row, token] for part, first in placed for row, token in part.straddlers][
            :_NAMED
        ],
    }
