"""Gathered rows are those that picking them one by one gives."""

from __future__ import annotations

import numpy as np
import pyarrow as pa
from hypothesis import given, settings
from hypothesis import strategies as st

from tunekit.data.gather import gathered


def table(values: list[int]) -> pa.Table:
    return pa.table(
        {"n": pa.array(values, pa.int64()), "l": pa.array([[v] * (v % 3) for v in values], pa.list_(pa.int16()))}
    )


picks = st.lists(st.tuples(st.integers(0, 2), st.integers(0, 9), st.integers(1, 40)), max_size=12)


@settings(deadline=None)
@given(picks)
def test_rows_are_those_that_were_asked_for(runs):
    """Runs that go on in the same table, single rows, rows twice."""
    tables = [table(list(range(start, start + 50))) for start in (0, 50, 100)]
    asked = [(which, row + i) for which, row, length in runs for i in range(length)]
    made = gathered(tables, np.array([w for w, _ in asked], np.int64), np.array([r for _, r in asked], np.int64))
    assert made.to_pylist() == table([50 * which + row for which, row in asked]).to_pylist()
