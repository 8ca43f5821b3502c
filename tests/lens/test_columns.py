"""Columns, search and row numbers, held against plain Python on the rows."""

from __future__ import annotations

from collections import Counter
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tunekit.data.rowset import Dataset, write_dataset
from tunekit.errors import ActionError
from tunekit.lens.columns import Columns
from tunekit.lens.rows import asked, evenly, rows_of, slabs
from tunekit.lens.search import search

TEXTS = st.text("abĆ漢", max_size=4)
MESSAGES = st.fixed_dictionaries({"role": st.sampled_from("ua"), "content": TEXTS | st.none()})
ROWS = st.lists(
    st.fixed_dictionaries(
        {
            "messages": st.none() | st.lists(MESSAGES, max_size=3),
            "text": TEXTS,
            "n": st.integers(-5, 5) | st.none(),
            "ok": st.booleans(),
        }
    ),
    min_size=1,
    max_size=12,
)


def columns_of(dataset: Dataset, numbers) -> dict[str, dict[str, Any]]:
    columns = Columns()
    for slab in slabs(dataset, numbers):
        columns.add(slab.table)
    return {c["path"]: c for c in columns.to_json()}


def made(folder: str, rows: list[dict[str, Any]], chunk: int | None = None) -> Dataset:
    return write_dataset(Path(folder) / "d", rows, "rows", chunk)


@settings(deadline=None)
@given(ROWS, st.integers(1, 5))
def test_columns_say_what_the_rows_hold(rows, chunk):
    with TemporaryDirectory() as folder:
        found = columns_of(made(folder, rows, chunk), np.arange(len(rows)))
    texts = [len(r["text"]) for r in rows]
    assert (found["text"]["count"], found["text"]["nulls"]) == (len(rows), 0)
    assert (found["text"]["spread"]["min"], found["text"]["spread"]["max"]) == (min(texts), max(texts))
    assert sum(found["text"]["spread"]["counts"]) == len(rows)
    numbers = [r["n"] for r in rows if r["n"] is not None]
    assert found["n"]["nulls"] == len(rows) - len(numbers)
    if numbers:
        assert found["n"]["spread"]["mean"] == pytest.approx(sum(numbers) / len(numbers))
    assert dict(found["ok"]["values"]) == {str(k).lower(): n for k, n in Counter(r["ok"] for r in rows).items()}
    lists = [r["messages"] for r in rows if r["messages"] is not None]
    assert found["messages"]["nulls"] == len(rows) - len(lists)
    messages = [m for ms in lists for m in ms]
    if messages:
        assert found["messages[].content"]["count"] == len(messages)
        assert found["messages[].content"]["nulls"] == sum(m["content"] is None for m in messages)
        roles = Counter(m["role"] for m in messages)
        assert dict(found["messages[].role"]["values"]) == (roles if len(messages) > len(roles) else {})


def test_texts_are_counted_while_they_are_few(tmp_path):
    rows = [{"few": "ab"[i % 2], "many": str(i % 20), "long": "x" * 61} for i in range(40)]
    found = columns_of(made(str(tmp_path), rows), np.arange(40))
    assert found["few"]["values"] == [("a", 20), ("b", 20)]
    assert found["many"]["values"] == found["long"]["values"] == []


@settings(deadline=None)
@given(ROWS, st.integers(1, 5), TEXTS.filter(bool), st.booleans())
def test_search_finds_what_python_finds(rows, chunk, text, ignore_case):
    def has(value: Any) -> bool:
        if isinstance(value, str):
            return text.lower() in value.lower() if ignore_case else text in value
        if isinstance(value, dict):
            return any(map(has, value.values()))
        return isinstance(value, list) and any(map(has, value))

    with TemporaryDirectory() as folder:
        dataset = made(folder, rows, chunk)
        every = list(dataset.iter_rows())
        hits = search(dataset, "dataset:x", text, ignore_case)
        found = [(first + n, batch.to_pylist()[n]) for first, batch, numbers in hits for n in numbers]
    assert found == [(i, row) for i, row in enumerate(every) if has(row)]


def test_search_of_numbers_is_refused(tmp_path):
    with pytest.raises(ActionError) as caught:
        list(search(made(str(tmp_path), [{"n": 1}]), "dataset:x", "1", False))
    assert caught.value.slug == "nothing-to-search"


@settings(deadline=None)
@given(st.integers(1, 60), st.integers(1, 9), st.sets(st.integers(0, 59), max_size=20))
def test_rows_by_number(count, chunk, wanted):
    numbers = np.array(sorted(n for n in wanted if n < count), np.int64)
    with TemporaryDirectory() as folder:
        dataset = made(folder, [{"n": i} for i in range(count)], chunk)
        assert list(rows_of(dataset, numbers)) == [(n, {"n": n}) for n in numbers.tolist()]


@settings(deadline=None)
@given(st.integers(0, 1000), st.integers(0, 50) | st.none())
def test_evenly_is_spread_over_all(total, most):
    found = evenly(total, most).tolist()
    assert len(found) == (total if most is None else min(total, most))
    assert found == sorted(set(found)) and all(0 <= n < total for n in found)
    gaps = np.diff([*found, total]) if found else np.zeros(0)
    assert len(gaps) == 0 or gaps.max() - gaps.min() <= 1


def test_a_row_that_is_not_there(tmp_path):
    with pytest.raises(ActionError) as caught:
        asked(made(str(tmp_path), [{"n": 1}]), "dataset:x", [0, 1])
    assert (caught.value.slug, caught.value.hint) == ("no-such-row", "its rows are 0 to 0")
