"""Arrays built from buffers are the arrays that pyarrow builds."""

import subprocess
import sys

import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tunekit.data.arrays import array_of

_SCALARS = st.sampled_from([pa.null(), pa.bool_(), pa.int64(), pa.int32(), pa.float64(), pa.string(), pa.binary()])
_TYPES = st.recursive(
    _SCALARS,
    lambda inner: st.one_of(
        inner.map(pa.list_),
        st.lists(inner, min_size=1, max_size=3).map(lambda ts: pa.struct([(f"f{i}", t) for i, t in enumerate(ts)])),
    ),
    max_leaves=5,
)


def _values(kind: pa.DataType) -> st.SearchStrategy:
    if pa.types.is_null(kind):
        return st.none()
    if pa.types.is_list(kind):
        found = st.lists(_values(kind.value_type), max_size=4)
    elif pa.types.is_struct(kind):
        found = st.fixed_dictionaries({f.name: _values(f.type) for f in kind})
    else:
        found = {
            pa.bool_(): st.booleans(),
            pa.int64(): st.integers(-(2**63), 2**63 - 1),
            pa.int32(): st.integers(-(2**31), 2**31 - 1),
            pa.float64(): st.floats(allow_nan=False),
            pa.string(): st.text(max_size=8),
            pa.binary(): st.binary(max_size=8),
        }[kind]
    return st.one_of(st.none(), found)


@settings(max_examples=60, deadline=None)
@given(_TYPES.flatmap(lambda kind: st.tuples(st.just(kind), st.lists(_values(kind), max_size=9))))
def test_equal_to_pyarrow(case: tuple[pa.DataType, list]) -> None:
    kind, values = case
    ours = array_of(values, kind)
    ours.validate(full=True)
    assert ours.equals(pa.array(values, type=kind))


@pytest.mark.parametrize(
    ("kind", "bad"), [(pa.int32(), 2**31), (pa.int64(), "x"), (pa.string(), 3), (pa.list_(pa.int64()), 3)]
)
def test_what_a_type_cannot_hold_is_refused(kind: pa.DataType, bad: object) -> None:
    with pytest.raises((TypeError, ValueError, OverflowError)):
        array_of([bad], kind)


def test_pandas_is_not_imported() -> None:
    code = (
        "import sys, pyarrow as pa; from tunekit.data.arrays import array_of; "
        "array_of(['a'], pa.string()); assert 'pandas' not in sys.modules"
    )
    subprocess.run([sys.executable, "-c", code], check=True)
