"""Arrays built from buffers are the arrays that pyarrow builds."""

import subprocess
import sys

import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tunekit.data.arrays import array_of, conformed, indices, numpy_of, settled, sizes

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


numbers = st.one_of(
    st.tuples(st.just(pa.bool_()), st.lists(st.booleans())),
    st.tuples(st.sampled_from([pa.int8(), pa.int32(), pa.int64()]), st.lists(st.integers(-99, 99))),
    st.tuples(st.just(pa.float64()), st.lists(st.floats(allow_nan=False))),
)


@settings(max_examples=100, deadline=None)
@given(numbers, st.integers(0, 20), st.integers(0, 3))
def test_numpy_of_is_to_numpy(typed, start, pieces):
    """Slices, and columns of several pieces."""
    kind, values = typed
    array = pa.array(values, kind).slice(start)
    assert numpy_of(array).tolist() == array.to_pylist()
    assert numpy_of(pa.chunked_array([array] * pieces, kind)).tolist() == array.to_pylist() * pieces


@settings(max_examples=60, deadline=None)
@given(_TYPES.flatmap(lambda kind: st.tuples(st.just(kind), st.lists(_values(kind), max_size=9))))
def test_equal_to_pyarrow(case: tuple[pa.DataType, list]) -> None:
    kind, values = case
    ours = array_of(values, kind)
    ours.validate(full=True)
    assert ours.equals(pa.array(values, type=kind))


def layout(array: pa.Array) -> list:
    """Everything that an Arrow file holds of an array."""
    nulls = array.null_count
    buffers = [b.to_pybytes() if b is not None and (i or nulls) else b"" for i, b in enumerate(array.buffers())]
    return [array.type, len(array), array.offset, nulls, buffers]


@settings(max_examples=150, deadline=None)
@given(
    _TYPES.flatmap(lambda kind: st.tuples(st.just(kind), st.lists(_values(kind), min_size=1, max_size=9))), st.data()
)
def test_rows_that_were_taken_or_sliced_get_the_layout_of_new_ones(case: tuple[pa.DataType, list], data) -> None:
    kind, values = case
    array = array_of(values, kind)
    numbers = data.draw(st.lists(st.integers(0, len(values) - 1), max_size=9))
    start, stop = sorted((data.draw(st.integers(0, len(values))), data.draw(st.integers(0, len(values)))))
    for found, wanted in (
        (array.take(indices(numbers)), [values[i] for i in numbers]),
        (array.slice(start, stop - start), values[start:stop]),
        (pa.concat_arrays([array, array]).slice(start, len(values)), (values + values)[start : start + len(values)]),
        (conformed(array, kind), values),
        (conformed(pa.nulls(len(values)), kind), [None] * len(values)),
    ):
        assert layout(settled(found)) == layout(array_of(wanted, kind))
        settled(found).validate(full=True)


@settings(max_examples=100, deadline=None)
@given(st.lists(st.none() | st.lists(st.none() | st.fixed_dictionaries({"t": st.text(max_size=4), "n": st.none()}),
                                     max_size=3), max_size=6), st.integers(0, 3))  # fmt: skip
def test_sizes_are_bytes_of_text(rows: list, start: int) -> None:
    kind = pa.list_(pa.struct([("n", pa.null()), ("t", pa.string())]))
    rows = [None if row is None else [m and {"t": m["t"]} for m in row] for row in rows]
    array = array_of(rows, kind).slice(start)
    assert sizes(array).tolist() == [sum(len(m["t"].encode()) for m in r or [] if m) for r in rows[start:]]


@pytest.mark.parametrize(
    ("kind", "bad"), [(pa.int32(), 2**31), (pa.int64(), "x"), (pa.string(), 3), (pa.list_(pa.int64()), 3)]
)
def test_what_a_type_cannot_hold_is_refused(kind: pa.DataType, bad: object) -> None:
    with pytest.raises((TypeError, ValueError, OverflowError)):
        array_of([bad], kind)


def test_pandas_is_not_imported() -> None:
    code = (
        "import sys, pyarrow as pa; from tunekit.data.arrays import array_of, numpy_of; "
        "array_of(['a'], pa.string()); numpy_of(array_of([1], pa.int64())); assert 'pandas' not in sys.modules"
    )
    subprocess.run([sys.executable, "-c", code], check=True)
