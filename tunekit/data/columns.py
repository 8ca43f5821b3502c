"""Column types: one Arrow type per column that holds every row exactly, or an error that names the row.

pyarrow's own inference takes the first value's word for it: it turns `True` among floats into 1.0, bytes among
strings into text and a set into a list in hash order. Here int and float become float, null joins anything,
lists and tables are joined field by field, and everything else that differs is a user's mistake.
"""

from __future__ import annotations

from typing import Any, TypeAlias

import pyarrow as pa

from tunekit.data.arrays import array_of
from tunekit.errors import ActionError

Row: TypeAlias = dict[str, Any]

_SCALARS: dict[type, str] = {type(None): "null", bool: "bool", int: "int", float: "float", str: "str", bytes: "bytes"}
_ARROW = {
    "null": pa.null(),
    "bool": pa.bool_(),
    "int": pa.int64(),
    "float": pa.float64(),
    "str": pa.string(),
    "bytes": pa.binary(),
}
_WAY_OUT = "make the column one type in `map`, for instance with str(...), float(...) or json.dumps(...)"


class ListOf:
    """A list whose items share a type."""

    __slots__ = ("item",)

    def __init__(self) -> None:
        self.item: ColumnType = "null"


class TableOf:
    """A table (dict) with the union of all fields seen; a missing field is null."""

    __slots__ = ("fields",)

    def __init__(self) -> None:
        self.fields: dict[str, ColumnType] = {}


# A name in _ARROW, a list, a table, or what pyarrow calls any other scalar (timestamps, decimals).
ColumnType: TypeAlias = str | ListOf | TableOf | pa.DataType


class _Mismatch(Exception):
    """What does not fit, in words."""


def schema_of(rows: list[Row]) -> pa.Schema:
    """The schema that holds all rows. Columns and fields are sorted, so the order of keys changes no byte.

    Raises ActionError (`mixed-types`) naming the column and the row (counted from 0).
    """
    found: dict[str, ColumnType] = {}
    for number, row in enumerate(rows):
        for name, value in row.items():
            try:
                found[name] = _widen(found.get(name, "null"), value)
            except _Mismatch as e:
                raise ActionError(f"column `{name}`, row {number}: {e}", slug="mixed-types", hint=_WAY_OUT) from None
    return pa.schema([(name, _arrow(found[name])) for name in sorted(found)])


def table_of(rows: list[Row], schema: pa.Schema, first_row: int = 0) -> pa.Table:
    """Rows as a table of `schema`. Raises ActionError (`mixed-types`) for a value that Arrow cannot hold."""
    arrays = []
    for field in schema:
        values = [row.get(field.name) for row in rows]
        try:
            arrays.append(array_of(values, field.type))
        except (pa.ArrowException, ValueError, TypeError, OverflowError) as e:
            number, why = _first_bad(values, field.type, str(e))
            raise ActionError(
                f"column `{field.name}`, row {first_row + number}: {why}", slug="mixed-types", hint=_WAY_OUT
            ) from e
    return pa.Table.from_arrays(arrays, schema=schema)


def _first_bad(values: list[Any], type: pa.DataType, why: str) -> tuple[int, str]:
    for number, value in enumerate(values):
        try:
            array_of([value], type)
        except (pa.ArrowException, ValueError, TypeError, OverflowError) as e:
            return number, str(e)
    return 0, why


def _widen(known: ColumnType, value: Any) -> ColumnType:
    """The smallest type that holds `known` and `value`; lists and tables are widened in place."""
    kind = _SCALARS.get(type(value))
    if kind is not None:
        return _join(known, kind, value)
    if isinstance(value, dict):
        return _widen_table(known, value)
    if isinstance(value, (list, tuple)):
        return _widen_list(known, value)
    return _join(known, _other(value), value)


def _join(known: ColumnType, kind: ColumnType, value: Any) -> ColumnType:
    if kind == "int" and not -(2**63) <= value < 2**63:
        raise _Mismatch(f"{value} does not fit in 64 bits")
    if known == kind or kind == "null":
        return known
    if known == "null":
        return kind
    if {known, kind} == {"int", "float"}:
        return "float"
    raise _Mismatch(f"{_words(kind)} where earlier rows have {_words(known)}")


def _widen_list(known: ColumnType, value: list[Any] | tuple[Any, ...]) -> ColumnType:
    if known == "null":
        known = ListOf()
    if not isinstance(known, ListOf):
        raise _Mismatch(f"a list where earlier rows have {_words(known)}")
    for item in value:
        known.item = _widen(known.item, item)
    return known


def _widen_table(known: ColumnType, value: Row) -> ColumnType:
    if known == "null":
        known = TableOf()
    if not isinstance(known, TableOf):
        raise _Mismatch(f"a table where earlier rows have {_words(known)}")
    for name, item in value.items():
        if not isinstance(name, str):
            raise _Mismatch(f"the key {name!r} is not a string")
        known.fields[name] = _widen(known.fields.get(name, "null"), item)
    return known


def _other(value: Any) -> ColumnType:
    """The type of a scalar that is not plain JSON: a number of numpy, a date, a decimal."""
    if isinstance(value, (set, frozenset)):
        raise _Mismatch("a set has no order; use sorted(...)")
    try:
        found = pa.infer_type([value])
    except (pa.ArrowException, ValueError, TypeError):
        raise _Mismatch(f"a {type(value).__name__} cannot be stored") from None
    if pa.types.is_integer(found):
        return "int"
    return "float" if pa.types.is_floating(found) else found


def _arrow(kind: ColumnType) -> pa.DataType:
    if isinstance(kind, str):
        return _ARROW[kind]
    if isinstance(kind, ListOf):
        return pa.list_(_arrow(kind.item))
    if isinstance(kind, TableOf):
        return pa.struct([(name, _arrow(kind.fields[name])) for name in sorted(kind.fields)])
    return kind


def _words(kind: ColumnType) -> str:
    if isinstance(kind, ListOf):
        return "a list"
    return "a table" if isinstance(kind, TableOf) else str(kind)
