"""Token rows read from Arrow buffers, held against what pyarrow makes of them."""

from __future__ import annotations

import numpy as np
import pyarrow as pa
from hypothesis import given, settings
from hypothesis import strategies as st

from tunekit.data.tokenset import SCHEMA, TokenPart, TokenSet
from tunekit.lens.compare import CONTEXT, runs
from tunekit.lens.pieces import MASKED, TRAINED, Piece
from tunekit.lens.tokens import Batch, rows, statistics

ROW = st.lists(st.tuples(st.integers(0, 9), st.booleans()), max_size=7)


def batch_of(found: list[list[tuple[int, bool]]], numbers: list[int]) -> pa.RecordBatch:
    ids = pa.array([[id for id, _ in row] for row in found], SCHEMA.field(0).type)
    labels = pa.array([[on for _, on in row] for row in found], SCHEMA.field(1).type)
    return pa.record_batch([ids, labels, pa.array(numbers, pa.int64())], schema=SCHEMA)


@settings(deadline=None)
@given(st.lists(ROW, min_size=1, max_size=9), st.data())
def test_a_batch_is_what_arrow_says_wherever_it_begins(found, data):
    whole = batch_of(found, list(range(len(found))))
    start = data.draw(st.integers(0, len(found) - 1))
    part = whole.slice(start, data.draw(st.integers(1, len(found) - start)))
    batch = Batch(part, 100)
    want = part.to_pylist()
    assert batch.numbers.tolist() == [100 + row["row"] for row in want]
    assert batch.lengths.tolist() == [len(row["input_ids"]) for row in want]
    assert batch.trained.tolist() == [sum(row["labelled"]) for row in want]
    assert [batch.row(i) for i in range(len(want))] == [(row["input_ids"], row["labelled"]) for row in want]


class Parts(TokenSet):
    """Two parts of three rows; row 1 of the first has no label and is not there."""

    def tables(self):
        one = batch_of([[(1, True)], [(2, False), (3, True)]], [0, 2])
        two = batch_of([[(4, True)] * 5, [(5, True)], [(6, False)] * 3 + [(7, True)]], [0, 1, 2])
        yield self.parts[0], pa.Table.from_batches([one])
        yield self.parts[1], pa.Table.from_batches([two.slice(0, 1), two.slice(1)])


def parts() -> Parts:
    return Parts("", "chat", "all", 5, 13, 9, [TokenPart("a", 0, 2, 3), TokenPart("b", 3, 3, 10)], {})


def test_rows_by_number():
    found = rows(parts(), np.array([1, 2, 5]))
    assert found == {2: ([2, 3], [False, True]), 5: ([6, 6, 6, 7], [False, False, False, True])}
    assert rows(parts(), np.zeros(0, np.int64)) == {}


def test_lengths_are_of_all_rows_and_trained_tokens_of_those_looked_at():
    found = statistics(parts(), np.array([2, 3]), longest=3)
    assert (found["looked"], found["over"], found["longest_row"]) == (2, 2, 3)
    spreads = found["spreads"]
    assert (spreads["length"]["count"], spreads["length"]["min"], spreads["length"]["max"]) == (5, 1, 5)
    assert (spreads["trained"]["min"], spreads["trained"]["max"]) == (1, 5)
    assert (spreads["share"]["min"], spreads["share"]["max"]) == (0.5, 1.0)


def pieces(text: str, flag: str = MASKED) -> list[Piece]:
    return [Piece(c, [ord(c)], flag, False) for c in text]


def test_of_what_is_the_same_only_what_is_near_a_change_is_kept():
    same = pieces("abcdefghijklmnopqrstuvwxyz")
    found = runs([*same, *pieces("1")], [*same, *pieces("2"), *same])
    assert found[1] is False
    assert found[0] == [
        ["skipped", len(same) - CONTEXT],
        ["same", same[-CONTEXT:]],
        ["removed", pieces("1")],
        ["added", [*pieces("2"), *same]],
    ]


def test_another_flag_is_a_change():
    found = [["removed", pieces("a")], ["added", pieces("a", TRAINED)]]
    assert runs(pieces("a"), pieces("a", TRAINED)) == (found, False)


def test_a_long_change_is_cut_and_what_is_in_front_of_it_is_not():
    old, new = pieces("a" * 50 + "b" * 9 + "c"), pieces("a" * 50 + "d" * 9 + "c")
    want = [["skipped", 44], ["same", pieces("a" * 6)], ["removed", pieces("bb")], ["added", pieces("dd")]]
    assert runs(old, new, 2) == (want, True)
    assert runs(old, new, 9)[1] is False


def test_far_in_a_long_row_a_change_is_found_at_once():
    old = pieces("a" * 20_000)
    assert runs(old, [*old[:9999], *pieces("b"), *old[10_000:]], None)[0][2:4] == [
        ["removed", pieces("a")],
        ["added", pieces("b")],
    ]


@settings(deadline=None)
@given(st.text("ab", max_size=30), st.text("ab", max_size=30))
def test_both_sides_can_be_put_together_again(old, new):
    found, _ = runs(pieces(old), pieces(new))
    for side, what in ((old, "removed"), (new, "added")):
        shown = [found_ if kind == "skipped" else "".join(p.text for p in found_)
                 for kind, found_ in found if kind in ("same", "skipped", what)]  # fmt: skip
        rest = side
        for part in shown:
            if isinstance(part, int):
                rest = rest[part:]
            else:
                assert rest.startswith(part)
                rest = rest[len(part) :]
        assert rest == ""
