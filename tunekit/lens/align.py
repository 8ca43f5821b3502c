"""Which rows of two datasets are the same, by digests alone: what went, what came, what stands in another's place.

Chunks that both have cost nothing. Rows of the others are matched by their digests (the k-th of equal ones with the
k-th), the longest run of matches that rises on both sides holds its place, and what lies between two of these is
paired one by one: an edit where both sides have a row there.
"""

from __future__ import annotations

import itertools
from bisect import bisect_left
from collections.abc import Iterator, Sequence
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from tunekit.lens.rows import Places

KEY = 16  # bytes of a digest that tell rows apart

Keys = NDArray[np.uint8]  # [n, KEY]


class Side(NamedTuple):
    """The atoms of one side in order: `keys[i]` names atom i, which is `rows[i]` rows: one row, or a piece of the
    dataset that both sides have equally often. `first[i]`: the number of the atom's row, where it is one row."""

    keys: Keys
    first: Places
    rows: Places


class Gap(NamedTuple):
    """Rows between two that hold their place: gone from the old side, come to the new one; in order."""

    gone: list[int]
    come: list[int]


class Alignment(NamedTuple):
    """`same`: rows that both have, in one order. `moved`: rows that both have, elsewhere."""

    same: int
    moved: int
    gaps: list[Gap]


def align(old: Side, new: Side) -> Alignment:
    """Law: rows gone and come are the difference of both sides as multisets of keys."""
    there = _matches(old.keys, new.keys)  # of every old atom its place on the new side, or -1
    matched = np.flatnonzero(there >= 0)
    stays = np.zeros(len(there), dtype=bool)
    stays[matched[_longest_rise(there[matched].tolist())]] = True
    only = np.ones(len(new.keys), dtype=bool)
    only[there[matched]] = False
    same = int(old.rows[stays].sum())
    return Alignment(same, int(old.rows[matched].sum()) - same, list(_gaps(old, new, there, stays, only)))


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
    if all(a < b for a, b in itertools.pairwise(places)):
        return list(range(len(places)))
    ends: list[int] = []  # the least last place of a run of each length
    at: list[int] = []  # and where it is
    before = [-1] * len(places)
    for i, place in enumerate(places):
        length = bisect_left(ends, place)
        if length == len(ends):
            ends.append(place)
            at.append(i)
        else:
            ends[length], at[length] = place, i
        before[i] = at[length - 1] if length else -1
    out = []
    i = at[-1] if at else -1
    while i >= 0:
        out.append(i)
        i = before[i]
    return out[::-1]


def _gaps(old: Side, new: Side, there: Places, stays: NDArray[np.bool_], come: NDArray[np.bool_]) -> Iterator[Gap]:
    """What only one side has, gap by gap."""
    fixed = np.flatnonzero(stays)
    gone = np.flatnonzero(there < 0)
    came = np.flatnonzero(come)
    # the number of fixed atoms in front of an atom says in which gap it is
    left = np.searchsorted(fixed, gone)
    right = np.searchsorted(there[fixed], came)
    for gap in np.unique(np.concatenate([left, right])).tolist():
        yield Gap(
            old.first[gone[slice(*np.searchsorted(left, [gap, gap + 1]))]].tolist(),
            new.first[came[slice(*np.searchsorted(right, [gap, gap + 1]))]].tolist(),
        )
