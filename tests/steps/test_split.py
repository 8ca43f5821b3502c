"""`split`: rows by place, as Python slices them, and percentages that meet without a gap."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tunekit.steps.dataset.spec import Dataset, parse_split

rows = st.integers(0, 10_000)


@given(total=rows, start=st.none() | st.integers(-10_000, 10_000), stop=st.none() | st.integers(-10_000, 10_000))
def test_numbers_slice_as_python_does(total, start, stop):
    text = f"[{'' if start is None else start}:{'' if stop is None else stop}]"
    split = parse_split(text)
    assert list(split.rows(total)) == list(range(total)[start:stop])
    assert split.needs_total() == ("-" in text)


@given(total=rows, percent=st.integers(0, 100))
def test_percentages_part_the_rows(total, percent):
    low, high = parse_split(f"[:{percent}%]").rows(total), parse_split(f"[{percent}%:]").rows(total)
    assert [*low, *high] == list(range(total))
    assert len(low) == total * percent // 100
    if percent:
        assert parse_split(f"[-{percent}%:]").rows(total) == parse_split(f"[{100 - percent}%:]").rows(total)


def test_a_split_names_files_and_rows():
    assert parse_split("train[10%:-5]") == ("train", "10%", "-5")
    assert parse_split("data-v1.0").name == "data-v1.0" and not parse_split("[:500]").needs_total()


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
