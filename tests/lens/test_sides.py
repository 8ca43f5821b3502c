"""Two datasets compared in chunks of any size, held against their rows as multisets."""

from __future__ import annotations

from collections import Counter
from tempfile import TemporaryDirectory
from typing import Any

from hypothesis import given, settings
from hypothesis import strategies as st

from tunekit.data.rowset import Dataset, open_dataset, write_dataset
from tunekit.lens.align import align
from tunekit.lens.compare import compare
from tunekit.lens.sides import bare, row_side
from tunekit.question import Question, Subject

ROWS = st.lists(st.sampled_from("abcd"), min_size=1, max_size=12)


def write(folder: str, letters: list[str], chunk: int) -> Dataset:
    rows = [{"t": letter, "m": [{"c": letter, "n": None}]} for letter in letters]
    return write_dataset(folder, rows, "rows", chunk)


@settings(deadline=None, max_examples=60)
@given(ROWS, ROWS, st.integers(1, 4), st.integers(1, 4))
def test_chunks_that_both_have_change_nothing_but_the_work(old, new, one, two):
    with TemporaryDirectory() as a, TemporaryDirectory() as b:
        left, right = write(a, old, one), write(b, new, two)
        digests = [[chunk.digest for chunk in side.chunk_list] for side in (left, right)]
        shared = Counter(digests[0]) & Counter(digests[1])
        found = align(row_side(left, shared), row_side(right, shared))
        every = align(row_side(left, Counter()), row_side(right, Counter()))
    assert all(old[i] == new[j] for i, j in found.kept.tolist())
    # rows alone are matched wherever they are; a chunk keeps its rows together
    assert len(every.kept) == (Counter(old) & Counter(new)).total()
    for result in (found, every):
        sides = [sorted([*result.kept[:, s], *(n for n in result.changes[:, s] if n >= 0)]) for s in (0, 1)]
        assert sides == [list(range(len(old))), list(range(len(new)))]
    if one == two == 1 or old == new:
        assert len(found.kept) == len(every.kept)


def changes_of(before: list[dict[str, Any]], after: list[dict[str, Any]]) -> list[dict[str, Any]]:
    with TemporaryDirectory() as a, TemporaryDirectory() as b:
        write_dataset(a, before, "rows")
        write_dataset(b, after, "rows")
        assert open_dataset(a).rows == len(before)
        answers = list(
            compare(Question([Subject("d", b)], [Subject("d", a)], limit=9), Subject("d", a), Subject("d", b))
        )
    return [answer for answer in answers if answer["type"] == "change"]


def test_a_new_column_changes_the_rows_that_have_it():
    old = [{"t": str(i)} for i in range(5)]
    new = [dict(row) for row in old]
    new[3]["why"] = "new"
    (change,) = changes_of(old, new)
    assert (change["what"], change["before"], change["leaves"]) == ("edited", 3, [["why", None, "new"]])


def test_what_is_null_is_not_there_and_what_is_in_a_list_is():
    assert bare({"a": None, "b": {"c": None}, "d": [None, {"e": None, "f": 0}]}) == {"b": {}, "d": [None, {"f": 0}]}
    assert changes_of([{"a": [None]}, {"a": [1]}], [{"a": [None]}, {"a": [1, None]}])[0]["before"] == 1


def test_numbers_that_look_alike_are_not_the_same():
    (change,) = changes_of([{"n": 1.0}, {"n": float("nan")}], [{"n": 1.0}, {"n": float("inf")}])
    assert change["leaves"] == [["n", "nan", "inf"]]
    assert changes_of([{"n": float("nan")}], [{"n": float("nan")}]) == []
