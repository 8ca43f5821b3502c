"""Digests of rows that earlier parts hold: which of the rows at hand were seen before, and where."""

from __future__ import annotations

import numpy as np

from tunekit.data.arrays import Numbers
from tunekit.data.chunk import Digests, begins_of


class Seen:
    """An index over digests that lie in files: 12 bytes a row in memory."""

    def __init__(self, digests: list[Digests]) -> None:
        """`digests[p]`: those of part p, [n, 32]."""
        self._digests = digests
        self._starts = np.cumsum([0, *(len(d) for d in digests)])
        begins = np.concatenate([np.zeros(0, np.uint64), *(begins_of(d) for d in digests)])
        order = np.argsort(begins, kind="stable")
        self._begins = begins[order]
        self._order = order.astype(np.uint32) if len(order) < 2**32 else order

    def find(self, wanted: Digests) -> tuple[Numbers, Numbers]:
        """Of every digest the part and the row in it; part -1 where there is none. All 32 bytes are compared."""
        parts, rows = np.full(len(wanted), -1, np.int64), np.zeros(len(wanted), np.int64)
        if not len(self._begins):
            return parts, rows
        begins = begins_of(wanted)
        at = np.minimum(np.searchsorted(self._begins, begins), len(self._begins) - 1)
        maybe = np.flatnonzero(self._begins[at] == begins)
        found = self._order[at[maybe]].astype(np.int64)
        part = np.searchsorted(self._starts, found, side="right") - 1
        row = found - self._starts[part]
        for p in np.unique(part).tolist():
            mine = part == p
            same = (self._digests[p][row[mine]] == wanted[maybe[mine]]).all(axis=1)
            hits = maybe[mine][same]
            parts[hits], rows[hits] = p, row[mine][same]
        return parts, rows


def spans(starts: Numbers, lengths: Numbers) -> Numbers:
    """start, start + 1, … start + length - 1 of every pair, in a row."""
    before = np.cumsum(lengths) - lengths
    return np.arange(int(lengths.sum())) + np.repeat(starts - before, lengths)
