"""A chunk made of copies is the chunk that its rows make, byte for byte; digests are those of the content."""

from __future__ import annotations

import datetime
import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tunekit.data.chunk import DIGEST, HIDDEN, Pick, compose, digests_of, fresh, visible, write_chunk
from tunekit.data.columns import from_text, kind_of, to_text
from tunekit.data.content import digest_of_row
from tunekit.data.rowset import map_table
from tunekit.errors import ActionError

TEXT = st.text(st.characters(exclude_categories=["Cs"]), max_size=5)
NUMBER = st.integers(-100, 100) | st.floats(allow_nan=False, width=32)
NUMBERS = st.lists(NUMBER, max_size=3)
MESSAGE = st.fixed_dictionaries({"role": TEXT}, optional={"content": TEXT | st.none(), "n": NUMBER})
ROW = st.fixed_dictionaries(
    {},
    optional={
        "t": TEXT | st.none(),
        "x": NUMBER,
        "l": NUMBERS,
        "m": st.lists(MESSAGE, max_size=2) | st.none(),
        "e": st.lists(st.booleans() | st.none(), max_size=9),
        "s": st.fixed_dictionaries({}, optional={"a": NUMBER, "b": st.none()}),
        "d": st.just(datetime.date(2024, 1, 2)),
        "z": st.just(b"\0"),
    },
)


def where(number: int) -> str:
    return f"row {number}"


def chunk_of(rows: list[dict], folder) -> tuple:
    folder.mkdir(exist_ok=True)
    made = write_chunk(folder, compose(fresh(rows, where), [], where))
    return made, map_table(folder / f"{made.digest[7:]}.arrow")


@settings(max_examples=150, deadline=None)
@given(data=st.data(), chunks=st.lists(st.lists(ROW, min_size=1, max_size=6), min_size=1, max_size=3))
def test_any_selection_of_rows_makes_the_chunk_that_they_make(tmp_path_factory, data, chunks):
    folder = tmp_path_factory.mktemp("c")
    tables = [chunk_of(rows, folder)[1] for rows in chunks]
    where_from = [(c, r) for c, rows in enumerate(chunks) for r in range(len(rows))]
    source = st.sampled_from(where_from).map(lambda at: (*at, None)) | ROW.map(lambda row: (-1, -1, row))
    wanted = data.draw(st.lists(source, min_size=1, max_size=12))
    rows = [chunks[c][r] if row is None else row for c, r, row in wanted]
    clean, table = chunk_of(rows, folder)
    new = [(i, row) for i, (_, _, row) in enumerate(wanted) if row is not None]
    picks = []
    for c, given_table in enumerate(tables):
        mine = [(i, r) for i, (source, r, _) in enumerate(wanted) if source == c]
        if mine:
            picks.append(Pick(given_table, np.array([r for _, r in mine]), np.array([i for i, _ in mine])))
    more = fresh((row for _, row in new), where)._replace(places=np.array([i for i, _ in new], np.int64))
    assert write_chunk(folder, compose(more, picks, where)) == clean
    again = data.draw(st.lists(st.integers(0, len(rows) - 1), min_size=1, max_size=6))
    pick = Pick(table, np.array(again), np.arange(len(again)))
    assert (
        write_chunk(folder, compose(fresh([], where), [pick], where)) == chunk_of([rows[i] for i in again], folder)[0]
    )
    assert not set(HIDDEN) & set(visible(table).column_names)
    if visible(table).num_columns:
        assert [without_nulls(r) for r in visible(table).to_pylist()] == [without_nulls(r) for r in rows]


def without_nulls(value):
    if isinstance(value, dict):
        return {k: without_nulls(v) for k, v in value.items() if v is not None}
    return [without_nulls(v) for v in value] if isinstance(value, list) else value


@settings(max_examples=200, deadline=None)
@given(ROW)
def test_kinds_survive_as_text(row):
    assert from_text(to_text(kind_of(row))) == kind_of(row)


def digest(row: dict) -> bytes:
    return digest_of_row(row, kind_of(row))


@settings(max_examples=200, deadline=None)
@given(ROW, ROW)
def test_equal_content_equal_digest(one, other):
    same = without_nulls(one) == without_nulls(other) and repr(without_nulls(one)) == repr(without_nulls(other))
    if same or repr(sorted(without_nulls(one).items())) != repr(sorted(without_nulls(other).items())):
        assert (digest(one) == digest(other)) == same
    assert digest(one) == digest(dict(reversed(one.items())))
    assert digest(one) == digest({**one, "null": None})


@pytest.mark.parametrize(
    ("one", "other"),
    [
        ({"a": b"x"}, {"a": "eA=="}),
        ({"a": datetime.date(2024, 1, 2)}, {"a": "2024-01-02"}),
        ({"a": [math.nan]}, {"a": [None]}),
        ({"a": math.nan}, {"a": "nan"}),
        ({"a": math.inf}, {"a": -math.inf}),
        ({"a": 1}, {"a": 1.0}),
        ({"a": 1}, {"a": True}),
        ({"a": [None, 1]}, {"a": [1]}),
        ({"a": math.nan, "b": "nan"}, {"a": "nan", "b": math.nan}),
    ],
)
def test_what_json_cannot_tell_apart_has_other_digests(one, other):
    assert digest(one) != digest(other)


def test_the_digest_is_of_the_row_as_it_is_stored(tmp_path):
    """A whole number beside a fraction in one column is stored as a float, and so it is rendered."""
    _, alone = chunk_of([{"a": 1}], tmp_path / "1")
    _, beside = chunk_of([{"a": 1}, {"a": 0.5}], tmp_path / "2")
    assert digests_of(alone.column(DIGEST))[0].tobytes() == digest({"a": 1})
    assert digests_of(beside.column(DIGEST))[0].tobytes() == digest({"a": 1.0})


def test_columns_of_ours_cannot_be_given():
    with pytest.raises(ActionError) as e:
        fresh([{"a": 1}, {DIGEST: 2}], where)
    assert e.value.slug == "reserved-column" and e.value.message.startswith("row 1:")
