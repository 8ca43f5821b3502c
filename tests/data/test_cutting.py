"""Chunk ends go by content: an edit changes the chunks around it and no other."""

from __future__ import annotations

from itertools import pairwise

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tunekit.data import cutting
from tunekit.data.cutting import MOST_BYTES, MOST_ROWS, QUIET, Cutter


def chunks(hashes: np.ndarray, sizes: np.ndarray, batches: int = 1) -> list[tuple[int, int]]:
    """Half-open ranges of rows."""
    cutter, ends, at = Cutter(), [], 0
    for part in np.array_split(np.arange(len(hashes)), batches):
        ends += [at + end for end in cutter.ends(hashes[part], sizes[part])]
        at += len(part)
    bounds = [0, *ends, len(hashes)]
    assert bounds == sorted(set(bounds)) or len(hashes) in ends
    return [(a, b) for a, b in pairwise(bounds) if a < b]


def random_rows(seed: int, count: int) -> tuple[np.ndarray, np.ndarray]:
    rng = np.random.default_rng(seed)
    return rng.integers(0, 2**64, count, dtype=np.uint64), rng.integers(50, 3000, count)


def contents(hashes: np.ndarray, sizes: np.ndarray) -> list[bytes]:
    return [hashes[a:b].tobytes() for a, b in chunks(hashes, sizes)]


@settings(max_examples=30, deadline=None)
@given(st.integers(0, 10**6), st.integers(1, 40))
def test_batches_do_not_matter(seed, batches):
    hashes, sizes = random_rows(seed, 20_000)
    assert chunks(hashes, sizes, batches) == chunks(hashes, sizes)


def test_sizes_are_about_two_thousand_rows():
    hashes, sizes = random_rows(1, 1_000_000)
    lengths = np.array([b - a for a, b in chunks(hashes, sizes)])
    assert 1_700 < lengths.mean() < 2_300 and lengths.max() <= MOST_ROWS
    assert np.sort(lengths)[2] > QUIET / 2  # but for the ends of the data, and cuts of overlong chunks


@settings(max_examples=60, deadline=None)
@given(st.integers(0, 10**6), st.floats(0, 1), st.sampled_from(["insert", "delete", "edit"]), st.integers(1, 3000))
def test_an_edit_changes_only_what_lies_between_two_ends(seed, where, kind, count):
    """Between the last content end before it and the first one more than QUIET rows behind it."""
    hashes, sizes = random_rows(seed, 60_000)
    at = int(where * 50_000)
    fresh, fresh_sizes = random_rows(seed + 1, count)
    drop = 0 if kind == "insert" else count
    new = () if kind == "delete" else (fresh, fresh_sizes)
    edited = [np.concatenate([a[:at], *([n] if new else []), a[at + drop :]])
              for a, n in zip((hashes, sizes), new or (None, None), strict=True)]  # fmt: skip
    before, after = contents(hashes, sizes), contents(*edited)
    lost = [i for i, chunk in enumerate(before) if chunk not in set(after)]
    assert lost == list(range(lost[0], lost[-1] + 1)) if lost else True
    # `count` rows and what surrounds them: never more than a few chunks, whatever follows in 60,000 rows
    rows = sum(len(before[i]) // 8 for i in lost)
    ends = np.array([b for _, b in chunks(hashes, sizes)])
    marks = ends[hashes[ends - 1] < cutting._MARK]
    first = max([0, *marks[marks <= at]])
    later = marks[marks > at + drop + QUIET]
    assert rows <= (later[0] if len(later) else len(hashes)) - first


def test_equal_rows_are_cut_by_their_number():
    hashes = np.full(20_000, 7, np.uint64)  # every row is a mark, none stands alone
    assert chunks(hashes, np.ones(20_000, np.int64))[:2] == [(0, 1), (1, 1 + MOST_ROWS)]


@pytest.mark.parametrize("batches", [1, 5])
def test_a_huge_row_is_a_chunk_of_its_own(batches):
    hashes, sizes = np.full(5, 2**64 - 1, np.uint64), np.array([10, 10, 100 << 20, 10, 10])
    assert chunks(hashes, sizes, batches) == [(0, 2), (2, 3), (3, 5)]


def test_bytes_are_bounded():
    sizes = np.full(1000, 1 << 20)
    for a, b in chunks(np.full(1000, 2**64 - 1, np.uint64), sizes, 7):
        assert sizes[a:b].sum() <= MOST_BYTES
