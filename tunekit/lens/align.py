"""Which rows of two datasets are the same, by digests alone: what went, what came, what stands in another's place.

The k-th of equal rows is matched with the k-th; the longest run of matches that rises on both sides holds its place.
What lies between two of these is paired one by one where both sides have equally many there (rows were edited), and
has gone and come where they have not.
"""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from tunekit.lens.rows import Places

KEY = 16  # bytes of a digest that tell rows apart

Keys = NDArray[np.uint8]  # [n, KEY]


class Side(NamedTuple):
    """The atoms of one side in order. `keys[i]` names atom i: `rows[i]` rows from number `first[i]` on; that is one
    row, or a whole piece of the dataset that both sides have equally often."""

    keys: Keys
    first: Places
    rows: Places


class Alignment(NamedTuple):
    """`kept`: [k, 2], the old and the new number of every row that both have, rising on the old side; `moved`: how
    many of them stand in another order. `changes`: [k, 2] in order, edited rows; -1 where a side has none."""

    kept: Places
    moved: int
    changes: Places


def align(old: Side, new: Side) -> Alignment:
    """Law: `kept` are the rows that both sides have as multisets of keys; `changes` has all others once."""
    there = _matches(old.keys, new.keys)  # of every old atom its place on the new side, or -1
    matched = np.flatnonzero(there >= 0)
    rising = bool((np.diff(there[matched]) > 0).all())
    fixed = matched if rising else matched[_longest_rise(there[matched].tolist())]
    counts = old.rows[matched]
    within = np.arange(counts.sum()) - np.repeat(np.cumsum(counts) - counts, counts)
    kept = [np.repeat(side.first[at], counts) + within for side, at in ((old, matched), (new, there[matched]))]
    gone = np.flatnonzero(there < 0)
    come = np.setdiff1d(np.arange(len(new.keys)), there)
    # the number of fixed atoms in front of an atom says in which gap it is
    gaps = np.searchsorted(fixed, gone), np.searchsorted(there[fixed], come)
    changes = _changes(old.first[gone], gaps[0], new.first[come], gaps[1], len(fixed) + 1)
    return Alignment(np.stack(kept, 1), int(counts.sum() - old.rows[fixed].sum()), changes)


def _matches(old: Keys, new: Keys) -> Places:
    """The k-th atom of a key on the old side is the k-th of it on the new side."""
    ids = np.unique(np.concatenate([old, new]).view(f"V{KEY}").ravel(), return_inverse=True)[1].astype(np.int64)
    left, right = ids[: len(old)], ids[len(old) :]
    if not len(left) or not len(right):
        return np.full(len(left), -1, np.int64)
    left, right = left * len(ids) + _ranks(left), right * len(ids) + _ranks(right)
    order = np.argsort(right)
    at = np.minimum(np.searchsorted(right[order], left), len(order) - 1)
    return np.where(right[order[at]] == left, order[at], -1)


def _ranks(ids: Places) -> Places:
    """How often each id came before."""
    order = np.argsort(ids, kind="stable")
    by = ids[order]
    starts = np.flatnonzero(np.concatenate([[True], by[1:] != by[:-1]]))
    ranks = np.zeros(len(ids), np.int64)
    ranks[order] = np.arange(len(ids)) - np.repeat(starts, np.diff(np.concatenate([starts, [len(ids)]])))
    return ranks


def _longest_rise(places: Sequence[int]) -> list[int]:
    """Indices of a longest rising subsequence."""
    ends: list[int] = []  # the least last place of a run of each length
    at: list[int] = []  # and where it is
    before = [-1] * len(places)
    for i, place in enumerate(places):
        length = bisect_left(ends, place)
        ends[length : length + 1], at[length : length + 1] = [place], [i]
        before[i] = at[length - 1] if length else -1
    out = []
    i = at[-1]
    while i >= 0:
        out.append(i)
        i = before[i]
    return out[::-1]


def _changes(gone: Places, left: Places, come: Places, right: Places, gaps: int) -> Places:
    """Rows that only one side has, each with its gap, as edits or as changes of one side, gap by gap."""
    even = np.bincount(left, minlength=gaps) == np.bincount(right, minlength=gaps)
    a, b = even[left], even[right]
    edited = np.stack([gone[a], come[b]], 1)
    removed = np.stack([gone[~a], np.full((~a).sum(), -1)], 1)
    added = np.stack([np.full((~b).sum(), -1), come[~b]], 1)
    order = np.argsort(np.concatenate([left[a], left[~a], right[~b]]), kind="stable")
    return np.concatenate([edited, removed, added])[order]
