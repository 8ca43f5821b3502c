"""What went and what came, held against the multisets of both sides."""

from __future__ import annotations

from collections import Counter

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st

from tunekit.lens.align import KEY, Side, align
from tunekit.lens.pairs import Change, best_pairs, changes, rows_alike, texts_alike

LETTERS = st.lists(st.sampled_from("abcdef"), max_size=12)


def side(letters: list[str]) -> Side:
    keys = np.frombuffer("".join(letters).encode().ljust(0), np.uint8).reshape(-1, 1).repeat(KEY, axis=1)
    count = len(letters)
    return Side(np.ascontiguousarray(keys), np.arange(count), np.ones(count, np.int64))


@settings(deadline=None)
@given(LETTERS, LETTERS)
def test_gone_and_come_are_the_difference_as_multisets(old, new):
    found = align(side(old), side(new))
    gone = [n for gap in found.gaps for n in gap.gone]
    come = [n for gap in found.gaps for n in gap.come]
    assert Counter(old[n] for n in gone) == Counter(old) - Counter(new)
    assert Counter(new[n] for n in come) == Counter(new) - Counter(old)
    assert gone == sorted(gone) and come == sorted(come)
    assert found.same + found.moved + len(gone) == len(old)
    assert found.same + found.moved + len(come) == len(new)


@settings(deadline=None)
@given(LETTERS)
def test_equal_sides_have_no_gap(letters):
    found = align(side(letters), side(letters))
    assert (found.same, found.moved, found.gaps) == (len(letters), 0, [])


def test_a_row_elsewhere_has_moved():
    found = align(side(list("abcde")), side(list("bcdea")))
    assert (found.same, found.moved, found.gaps) == (4, 1, [])


@settings(deadline=None)
@given(LETTERS, LETTERS)
def test_every_change_is_an_edit_or_one_side_alone(old, new):
    found = align(side(old), side(new))
    read_old, read_new = (lambda ns: {n: old[n] for n in ns}), (lambda ns: {n: new[n] for n in ns})
    made = changes(found.gaps, read_old, read_new, lambda a, b: 0.5)
    assert [c.before for c in made if c.before is not None] == [n for g in found.gaps for n in g.gone]
    assert [c.after for c in made if c.after is not None] == [n for g in found.gaps for n in g.come]
    assert sum(c.what == "edited" for c in made) == sum(min(len(g.gone), len(g.come)) for g in found.gaps)


def test_in_an_uneven_gap_a_row_is_paired_with_what_it_is_like():
    old, new = ["the cat sat"], ["something else", "the cat sat down"]
    found = align(side(["x"]), side(["y", "z"]))
    read_old, read_new = (lambda ns: {n: old[n] for n in ns}), (lambda ns: {n: new[n] for n in ns})
    assert changes(found.gaps, read_old, read_new, texts_alike) == [Change(None, 0), Change(0, 1)]


def test_best_pairs_rise_and_leave_out_what_shares_nothing():
    assert best_pairs([[0.1, 0.9], [0.8, 0.2]]) == [(0, 1)]
    assert best_pairs([[0.0, 0.0]]) == []
    assert best_pairs([]) == []


def test_likeness():
    assert texts_alike("abcd", "abXd") == 0.75
    assert texts_alike("", "x") == 0.0
    assert texts_alike("aa", "aaa") == 2 / 3
    assert rows_alike({"a": 1, "b": None, "m": [{"c": "xy"}]}, {"a": 1, "m": [{"c": "xz"}]}) == 0.75
    assert rows_alike({"a": None}, {"a": None}) == 0.0
