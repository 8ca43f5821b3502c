from __future__ import annotations

import itertools

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tunekit.lens.spread import BINS, Spread

NUMBERS = st.lists(st.integers(0, 10**6) | st.floats(-1e300, 1e300) | st.sampled_from([0.0, 1.0, float("nan")]))


@settings(deadline=None)
@given(st.lists(NUMBERS, max_size=4))
def test_figures_and_bins_hold_every_number(batches):
    spread = Spread()
    for batch in batches:
        spread.add(np.array(batch, np.float64))
    values = np.array([v for b in batches for v in b], np.float64)
    finite = values[np.isfinite(values)]
    found = spread.summary()
    assert spread.not_finite == len(values) - len(finite)
    if not len(finite):
        assert found is None
        return
    assert (found["count"], found["min"], found["max"]) == (len(finite), finite.min(), finite.max())
    assert sum(found["counts"]) == len(finite)
    assert found["median"] == np.sort(finite)[(len(finite) - 1) // 2]
    edges = found["edges"]
    assert len(edges) == len(found["counts"]) + 1 <= BINS + 1
    assert all(a < b for a, b in itertools.pairwise(edges))
    assert edges[0] <= found["min"] and found["max"] <= edges[-1]
    last = len(edges) - 2
    for place, n in enumerate(found["counts"]):
        inside = (finite >= edges[place]) & (
            (finite <= edges[place + 1]) if place == last else finite < edges[place + 1]
        )
        assert n == inside.sum()


def test_many_distinct_numbers_are_rounded_and_stay_few():
    spread = Spread()
    numbers = np.random.default_rng(0).normal(1000, 300, 300_000)
    for part in np.split(numbers, 30):
        spread.add(part)
    found = spread.summary()
    assert len(spread._values) < 20_000
    assert found["count"] == 300_000 and sum(found["counts"]) == 300_000
    assert (found["min"], found["max"]) == (numbers.min(), numbers.max())
    assert found["median"] == pytest.approx(np.median(numbers), rel=5e-3)
    assert found["mean"] == pytest.approx(numbers.mean())


def test_whole_numbers_that_are_few_have_a_bin_each_and_a_long_tail_is_logarithmic():
    few, tail = Spread(), Spread()
    few.add(np.array([1, 2, 2, 4]))
    assert few.summary()["counts"] == [1, 2, 0, 1]
    tail.add(np.array([1] * 100 + [2] * 50 + [5000]))
    found = tail.summary()
    assert found["log"] and found["counts"][0] == 100 and found["counts"][-1] == 1
