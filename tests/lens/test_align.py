"""What went and what came, held against the multisets of both sides."""

from __future__ import annotations

from collections import Counter

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st

from tunekit.lens.align import KEY, Side, align

LETTERS = st.lists(st.sampled_from("abcdef"), max_size=12)


def side(letters: list[str], rows: int = 1) -> Side:
    """Every letter is an atom of so many rows."""
    keys = np.frombuffer("".join(letters).encode(), np.uint8).reshape(-1, 1).repeat(KEY, axis=1)
    count = len(letters)
    return Side(np.ascontiguousarray(keys), np.arange(count) * rows, np.full(count, rows, np.int64))


@settings(deadline=None)
@given(LETTERS, LETTERS)
def test_what_is_kept_and_what_changed_is_all_of_both_sides(old, new):
    found = align(side(old), side(new))
    assert all(old[a] == new[b] for a, b in found.kept.tolist())
    gone, come = ([n for n in found.changes[:, place].tolist() if n >= 0] for place in (0, 1))
    assert Counter(old[n] for n in gone) == Counter(old) - Counter(new)
    assert Counter(new[n] for n in come) == Counter(new) - Counter(old)
    assert gone == sorted(gone) and come == sorted(come)
    assert sorted([*found.kept[:, 0].tolist(), *gone]) == list(range(len(old)))
    assert sorted([*found.kept[:, 1].tolist(), *come]) == list(range(len(new)))
    assert found.changes.max(axis=1, initial=-1).min(initial=0) >= 0  # no change of nothing


@settings(deadline=None)
@given(LETTERS, st.integers(1, 3))
def test_equal_sides_have_no_change(letters, rows):
    found = align(side(letters, rows), side(letters, rows))
    every = np.arange(len(letters) * rows)
    assert found.kept.tolist() == np.stack([every, every], 1).tolist()
    assert (found.moved, len(found.changes)) == (0, 0)


def test_a_row_elsewhere_has_moved():
    found = align(side(list("abcde")), side(list("bcdea")))
    assert (found.moved, len(found.changes)) == (1, 0)
    assert found.kept.tolist() == [[0, 4], [1, 0], [2, 1], [3, 2], [4, 3]]


def test_pieces_of_many_rows_are_kept_row_by_row():
    found = align(side(list("ab"), rows=2), side(list("xab"), rows=2))
    assert found.kept.tolist() == [[0, 2], [1, 3], [2, 4], [3, 5]]


def test_rows_are_edited_where_both_sides_have_as_many():
    assert align(side(list("aXYb")), side(list("aUVb"))).changes.tolist() == [[1, 1], [2, 2]]
    # nobody can say which of them became the other
    assert align(side(list("aXb")), side(list("aUVb"))).changes.tolist() == [[1, -1], [-1, 1], [-1, 2]]
    assert align(side(list("aXbYc")), side(list("aUbc"))).changes.tolist() == [[1, 1], [3, -1]]
