"""Python values to Arrow arrays, by their buffers.

`pyarrow.array` does the same, but looks for pandas first and imports it where it is installed: half a second
in every worker, for nothing. Here numpy, which pyarrow has loaded anyway, fills the buffers of Arrow's columnar
format (https://arrow.apache.org/docs/format/Columnar.html). A test holds the two equal.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import pyarrow as pa

_NUMBERS = {pa.int8(): "i1", pa.int32(): "i4", pa.int64(): "i8", pa.float64(): "f8"}


def array_of(values: list[Any], type: pa.DataType) -> pa.Array:
    """One array of `type` (null, bool, integers, float64, string, binary, lists and structs of them); None is null.

    Raises OverflowError, ValueError or TypeError for a value that the type cannot hold.
    """
    count = len(values)
    if pa.types.is_null(type):
        return pa.nulls(count)
    absent = [v is None for v in values]
    validity = _bitmap(np.logical_not(absent)) if any(absent) else None
    if pa.types.is_struct(type):
        children = [array_of([None if v is None else v.get(f.name) for v in values], f.type) for f in type]
        return pa.Array.from_buffers(type, count, [validity], children=children)
    if pa.types.is_list(type):
        offsets = _offsets([0 if v is None else len(v) for v in values])
        child = array_of([item for v in values if v is not None for item in v], type.value_type)
        return pa.Array.from_buffers(type, count, [validity, pa.py_buffer(offsets)], children=[child])
    if pa.types.is_string(type) or pa.types.is_binary(type):
        data = [b"" if v is None else _bytes(v) for v in values]
        offsets = pa.py_buffer(_offsets([len(d) for d in data]))
        return pa.Array.from_buffers(type, count, [validity, offsets, pa.py_buffer(b"".join(data))])
    if pa.types.is_boolean(type):
        return pa.Array.from_buffers(type, count, [validity, _bitmap(np.array([bool(v) for v in values], dtype=bool))])
    if type not in _NUMBERS:
        return pa.array(values, type=type)  # dates and their like, from files that have them
    if pa.types.is_floating(type):
        inexact = next((v for v in values if isinstance(v, int) and int(float(v)) != v), None)
        if inexact is not None:
            raise ValueError(f"Integer value {inexact} has no exact float64")
    numbers = np.array([0 if v is None else v for v in values], dtype=_NUMBERS[type])
    return pa.Array.from_buffers(type, count, [validity, pa.py_buffer(numbers)])


def _bytes(value: Any) -> bytes:
    return value.encode() if isinstance(value, str) else bytes(memoryview(value))


def _bitmap(bits: Any) -> pa.Buffer:
    return pa.py_buffer(np.packbits(np.asarray(bits, dtype=bool), bitorder="little"))


def _offsets(lengths: list[int]) -> Any:
    ends = np.cumsum(np.array(lengths, dtype="i8"))
    if len(ends) and ends[-1] > np.iinfo("i4").max:
        raise OverflowError("more than 2 GiB in one column of a chunk")
    return np.concatenate([np.zeros(1, "i4"), ends.astype("i4")])
