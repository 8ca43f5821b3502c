"""`split`: rows by place, as Python slices them, and percentages that meet without a gap."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tunekit.steps.dataset.spec import Dataset, bounds, needs_total, split_name

rows = st.integers(0, 10_000)


def inside(split: str, total: int) -> range:
    start, stop = bounds(split, total)
    assert stop is not None and 0 <= start <= stop <= total
    return range(start, stop)


@given(total=rows, start=st.none() | st.integers(-10_000, 10_000), stop=st.none() | st.integers(-10_000, 10_000))
def test_numbers_slice_as_python_does(total, start, stop):
    text = f"[{'' if start is None else start}:{'' if stop is None else stop}]"
    assert list(inside(text, total)) == list(range(total)[start:stop])
    assert needs_total(text) == ("-" in text)
    if not needs_total(text):
        assert bounds(text, None) == (start or 0, stop)


@given(total=rows, percent=st.integers(0, 100))
def test_percentages_part_the_rows(total, percent):
    low, high = inside(f"[:{percent}%]", total), inside(f"[{percent}%:]", total)
    assert [*low, *high] == list(range(total))
    assert len(low) == total * percent // 100
    if percent:
        assert inside(f"[-{percent}%:]", total) == inside(f"[{100 - percent}%:]", total)


def test_a_split_names_files_and_rows():
    assert split_name("train[10%:-5]") == "train" and bounds("train[10%:-5]", 100) == (10, 95)
    assert split_name("data-v1.0") == "data-v1.0" and not needs_total("data-v1.0")
    assert bounds("", None) == bounds("train", None) == (0, None)


@pytest.mark.parametrize(
    ("settings", "key", "said"),
    [
        ({"split": "train[:10"}, "split", "is not a split"),
        ({"split": "train[5]"}, "split", "is not a split"),
        ({"split": "[:101%]"}, "split", "more than 100 %"),
        ({"split": "[20:10]"}, "split", "has no rows"),
        ({"split": "[-5:-5]"}, "split", "has no rows"),
        ({"split": "[50%:20%]"}, "split", "has no rows"),
        ({"split": "[:0]"}, "split", "has no rows"),
        ({"encoding": "utf-9"}, "encoding", "no text encoding"),
        ({"encoding": "base64"}, "encoding", "no text encoding"),
        ({"encoding": "latin-1", "reader": "arrow"}, "encoding", "only text files"),
    ],
)
def test_what_cannot_be_meant_is_told_when_it_is_declared(settings, key, said):
    found = Dataset(source="path:d", **settings).checks()
    assert [(where, said in message) for where, message, _ in found] == [(key, True)]


@pytest.mark.parametrize("split", ["", "train", "[10%:500]", "[-500:]", "[-10:5]", "[:100%]", "train[0:1]"])
def test_what_may_have_rows_is_accepted(split):
    assert Dataset(source="path:d", split=split).checks() == []
