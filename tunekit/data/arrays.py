"""Python values to Arrow arrays, by their buffers; and arrays in the one layout that equal values have.

`pyarrow.array` does the same, but looks for pandas first and imports it where it is installed: half a second
in every worker, for nothing. Here numpy, which pyarrow has loaded anyway, fills the buffers of Arrow's columnar
format (https://arrow.apache.org/docs/format/Columnar.html). A test holds the two equal.

The same values have many layouts (an offset into a longer buffer, stray bits, values under a null). A file is named
by the digest of its bytes, so what is written is always the layout that `array_of` gives: see `settled`.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

Numbers = NDArray[np.int64]

_NUMBERS = {pa.int8(): "i1", pa.int32(): "i4", pa.int64(): "i8", pa.float64(): "f8"}
_NUMPY = _NUMBERS | {pa.bool_(): "?"}


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
        return settled(pa.array(values, type=type))  # dates and their like, from files that have them
    return pa.Array.from_buffers(type, count, [validity, pa.py_buffer(_numbers(values, type))])


def _numbers(values: list[Any], type: pa.DataType) -> Any:
    if pa.types.is_floating(type):
        inexact = next((v for v in values if isinstance(v, int) and int(float(v)) != v), None)
        if inexact is not None:
            raise ValueError(f"Integer value {inexact} has no exact float64")
    try:
        return np.array([0 if v is None else v for v in values], dtype=_NUMBERS[type])
    except OverflowError:
        bits = type.bit_width
        large = next((v for v in values if isinstance(v, int) and not -(2 ** (bits - 1)) <= v < 2 ** (bits - 1)), None)
        raise OverflowError(f"{large} does not fit in {bits} bits") from None


def _bytes(value: Any) -> bytes:
    return value.encode() if isinstance(value, str) else bytes(memoryview(value))


def _bitmap(bits: Any) -> pa.Buffer:
    return pa.py_buffer(np.packbits(np.asarray(bits, dtype=bool), bitorder="little"))


def _offsets(lengths: Any) -> Any:
    ends = np.cumsum(np.asarray(lengths, dtype="i8"))
    if len(ends) and ends[-1] > np.iinfo("i4").max:
        raise OverflowError("more than 2 GiB in one column of a chunk")
    return np.concatenate([np.zeros(1, "i4"), ends.astype("i4")])


def indices(places: Any) -> pa.Array:
    """An int64 array, for `take`."""
    return fixed(np.asarray(places, dtype="i8"), pa.int64())


def fixed(values: Any, type: pa.DataType) -> pa.Array:
    """A numpy array (C order, one row an item) as an Arrow array of a fixed width without nulls; nothing is copied."""
    return pa.Array.from_buffers(type, len(values), [None, pa.py_buffer(np.ascontiguousarray(values))])


def lists(lengths: Any, flat: pa.Array) -> pa.Array:
    """A list array without nulls from the length of each list and all items in a row."""
    offsets = pa.py_buffer(_offsets(lengths))
    return pa.Array.from_buffers(pa.list_(flat.type), len(lengths), [None, offsets], children=[flat])


def binaries(lengths: Any, flat: Any) -> pa.Array:
    """A binary array without nulls from the length of each item and all bytes in a row (a numpy array)."""
    data = pa.py_buffer(np.ascontiguousarray(flat))
    return pa.Array.from_buffers(pa.binary(), len(lengths), [None, pa.py_buffer(_offsets(lengths)), data])


def flags(bits: Any) -> pa.Array:
    """A bool array without nulls from a numpy one."""
    return pa.Array.from_buffers(pa.bool_(), len(bits), [None, _bitmap(bits)])


def numpy_of(array: pa.Array | pa.ChunkedArray) -> Any:
    """The values of an array without nulls (numbers or bools) as numpy; nothing is copied but bits and several pieces.
    `Array.to_numpy` imports pandas where it is installed."""
    if isinstance(array, pa.ChunkedArray):
        pieces = [numpy_of(piece) for piece in array.chunks]
        return pieces[0] if len(pieces) == 1 else np.concatenate([np.zeros(0, _NUMPY[array.type]), *pieces])
    count, dtype = len(array), np.dtype(_NUMPY[array.type])
    buffer = array.buffers()[1]
    if pa.types.is_boolean(array.type):
        return _bits(buffer, array.offset, count)
    return np.frombuffer(buffer, dtype, count, array.offset * dtype.itemsize) if count else np.zeros(0, dtype)


def sizes(array: pa.Array) -> Any:
    """Bytes of text in each item (int64), whatever else it has."""
    count, kind = len(array), array.type
    if pa.types.is_struct(kind):
        return sum((sizes(array.field(i)) for i in range(kind.num_fields)), np.zeros(count, np.int64))
    if not count or not (pa.types.is_list(kind) or pa.types.is_string(kind) or pa.types.is_binary(kind)):
        return np.zeros(count, np.int64)
    if pa.types.is_list(kind):
        offsets = numpy_of(array.offsets).astype(np.int64)
        before = np.concatenate([np.zeros(1, np.int64), np.cumsum(sizes(array.values))])
        return before[offsets[1:]] - before[offsets[:-1]]
    return np.diff(np.frombuffer(array.buffers()[1], "i4", count + 1, array.offset * 4)).astype(np.int64)


def settled(array: pa.Array) -> pa.Array:
    """The same values in the layout that `array_of` gives: no offset, no bits or values that nothing reads."""
    kind, count = array.type, len(array)
    if pa.types.is_null(kind) or not count:
        return pa.nulls(count) if pa.types.is_null(kind) else _empty(kind)
    present = _present(array)
    validity = None if present is None else _bitmap(present)
    if pa.types.is_struct(kind):
        children = [settled(array.field(i)) for i in range(kind.num_fields)]
        return pa.Array.from_buffers(kind, count, [validity], children=children)
    if pa.types.is_list(kind):
        offsets = numpy_of(array.offsets)
        child = settled(array.values.slice(offsets[0], offsets[-1] - offsets[0]))
        return pa.Array.from_buffers(kind, count, [validity, _from_zero(offsets)], children=[child])
    if pa.types.is_string(kind) or pa.types.is_binary(kind):
        _, where, data = array.buffers()
        offsets = np.frombuffer(where, "i4", count + 1, array.offset * 4)
        held = data.slice(int(offsets[0]), int(offsets[-1] - offsets[0])) if data else pa.py_buffer(b"")
        return pa.Array.from_buffers(kind, count, [validity, _from_zero(offsets), held])
    if pa.types.is_boolean(kind):
        bits = _bits(array.buffers()[1], array.offset, count)
        return pa.Array.from_buffers(kind, count, [validity, _bitmap(bits if present is None else bits & present)])
    width = kind.bit_width // 8
    items = np.frombuffer(array.buffers()[1], "u1", count * width, array.offset * width).reshape(count, width)
    if present is not None:
        items = np.where(present[:, None], items, np.uint8(0))
    return pa.Array.from_buffers(kind, count, [validity, pa.py_buffer(items)])


def _empty(kind: pa.DataType) -> pa.Array:
    if pa.types.is_struct(kind) or pa.types.is_list(kind) or pa.types.is_string(kind) or pa.types.is_binary(kind):
        return array_of([], kind)
    return pa.Array.from_buffers(kind, 0, [None, pa.py_buffer(b"")])


def _present(array: pa.Array) -> Any:
    return None if not array.null_count else _bits(array.buffers()[0], array.offset, len(array))


def _bits(buffer: pa.Buffer | None, offset: int, count: int) -> Any:
    if buffer is None:
        return np.zeros(count, dtype=bool)
    first = offset // 8
    packed = np.frombuffer(buffer, "u1")[first : (offset + count + 7) // 8]
    return np.unpackbits(packed, bitorder="little")[offset - 8 * first :][:count].astype(bool)


def _from_zero(offsets: Any) -> pa.Buffer:
    return pa.py_buffer(offsets if not offsets[0] else offsets - offsets[0])


def conformed(array: pa.Array, type: pa.DataType) -> pa.Array:
    """The same values as `type`: null becomes anything, integers become floats, tables gain fields (null) or lose
    ones that are null. Raises ArrowInvalid for an integer that no float64 equals."""
    if array.type == type:
        return array
    count = len(array)
    if array.null_count == count:
        return pa.nulls(count, type)
    present = _present(array)
    validity = None if present is None else _bitmap(present)
    if pa.types.is_struct(type):
        at = {field.name: i for i, field in enumerate(array.type)}
        children = [
            conformed(array.field(at[f.name]), f.type) if f.name in at else pa.nulls(count, f.type) for f in type
        ]
        return pa.Array.from_buffers(type, count, [validity], children=children)
    if pa.types.is_list(type):
        offsets = numpy_of(array.offsets)
        child = conformed(array.values.slice(offsets[0], offsets[-1] - offsets[0]), type.value_type)
        return pa.Array.from_buffers(type, count, [validity, _from_zero(offsets)], children=[child])
    return array.cast(type)
