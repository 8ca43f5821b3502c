"""Column types: one Arrow type per column that holds every row exactly, or an error that names the row.

pyarrow's own inference takes the first value's word for it: it turns `True` among floats into 1.0, bytes among
strings into text and a set into a list in hash order. Here int and float become float, null joins anything,
lists and tables are joined field by field, and everything else that differs is a user's mistake.

A `Kind` is such a type as a value that can be compared, kept and joined: the name of a scalar, `("list", kind)`,
`("table", ((name, kind), …))` with names sorted, or what pyarrow calls any other scalar (timestamps, decimals).
"""

from __future__ import annotations

import base64
import json
from functools import lru_cache
from typing import Any, TypeAlias

import pyarrow as pa

Row: TypeAlias = dict[str, Any]
Kind: TypeAlias = "str | tuple[Any, ...] | pa.DataType"

WAY_OUT = "make the column one type in `map`, for instance with str(...), float(...) or json.dumps(...)"
EMPTY: Kind = ("table", ())

_SCALARS: dict[type, str] = {type(None): "null", bool: "bool", int: "int", float: "float", str: "str", bytes: "bytes"}
_ARROW = {
    "null": pa.null(),
    "bool": pa.bool_(),
    "int": pa.int64(),
    "float": pa.float64(),
    "str": pa.string(),
    "bytes": pa.binary(),
}
_MOST_PLAIN = 10_000
_plain: dict[Any, Kind] = {}  # (names, types of values) of tables of scalars, which rows mostly are


def columns_of(kind: Kind) -> tuple[tuple[str, Kind], ...]:
    """Names and kinds of a table's columns."""
    assert isinstance(kind, tuple) and kind[0] == "table"
    columns: tuple[tuple[str, Kind], ...] = kind[1]
    return columns


class Mismatch(Exception):
    """What does not fit, in words."""


def kind_of(value: Any) -> Kind:
    """The smallest kind that holds a value. Raises Mismatch for what cannot be stored or differs within a list."""
    scalar = _SCALARS.get(type(value))
    if scalar is not None:
        return scalar
    if isinstance(value, dict):
        return _table(value)
    if isinstance(value, (list, tuple)):
        found: Kind = "null"
        for kind in {kind_of(item): None for item in value}:
            found = join(found, kind)
        return ("list", found)
    return _other(value)


def _table(value: Row) -> Kind:
    shape = (tuple(value), tuple(map(type, value.values())))
    known = _plain.get(shape)
    if known is not None:
        return known
    for name in value:
        if not isinstance(name, str):
            raise Mismatch(f"the key {name!r} is not a string")
    found: Kind = ("table", tuple(sorted((name, kind_of(item)) for name, item in value.items())))
    if all(kind in _SCALARS for kind in shape[1]) and len(_plain) < _MOST_PLAIN:
        _plain[shape] = found
    return found


def _other(value: Any) -> Kind:
    """The kind of a scalar that is not plain JSON: a number of numpy, a date, a decimal."""
    if isinstance(value, (set, frozenset)):
        raise Mismatch("a set has no order; use sorted(...)")
    try:
        found = pa.infer_type([value])
    except (pa.ArrowException, ValueError, TypeError):
        found = None
    if found is None or isinstance(found, pa.BaseExtensionType):
        raise Mismatch(f"a {type(value).__name__} cannot be stored")
    return kind_of_arrow(found)


@lru_cache(1 << 14)
def join(a: Kind, b: Kind) -> Kind:
    """The smallest kind that holds both. Raises Mismatch."""
    if a == b or b == "null":
        return a
    if a == "null":
        return b
    if isinstance(a, tuple) and isinstance(b, tuple) and a[0] == b[0]:
        return ("list", join(a[1], b[1])) if a[0] == "list" else _join_tables(dict(a[1]), dict(b[1]))
    if isinstance(a, str) and isinstance(b, str) and {a, b} == {"int", "float"}:
        return "float"
    raise Mismatch(f"{_words(b)} where earlier rows have {_words(a)}")


def _join_tables(a: dict[str, Kind], b: dict[str, Kind]) -> Kind:
    names = sorted({*a, *b})
    return ("table", tuple((name, join(a.get(name, "null"), b.get(name, "null"))) for name in names))


def clash(known: Kind, kind: Kind) -> tuple[str, str]:
    """The first column in which two kinds of rows do not fit, and why. Both are tables that `join` refuses."""
    columns = dict(columns_of(known))
    for name, found in columns_of(kind):
        try:
            join(columns.get(name, "null"), found)
        except Mismatch as e:
            return name, str(e)
    raise AssertionError("the rows fit")


def clash_within(row: Row) -> tuple[str, str]:
    """The first column of a row that `kind_of` refuses, and why."""
    for name, value in row.items():
        try:
            kind_of({name: value})
        except Mismatch as e:
            return str(name), str(e)
    raise AssertionError("the row has a kind")


@lru_cache(1 << 14)
def stored(kind: Kind, among: Kind) -> Kind:
    """How a value of `kind` is stored in a column of kind `among`, which holds it: int may have become float."""
    if isinstance(kind, str) and isinstance(among, str):
        return among if kind == "int" else kind
    if not isinstance(kind, tuple) or not isinstance(among, tuple):
        return kind
    if kind[0] == "list":
        return ("list", stored(kind[1], among[1]))
    columns = dict(among[1])
    return ("table", tuple((name, stored(found, columns[name])) for name, found in kind[1]))


def unstored(value: Any, kind: Kind) -> Any:
    """A value of `kind` as it was before other rows made it a float, or gave it fields that are null."""
    if value is None or isinstance(kind, str):
        return int(value) if kind == "int" and value is not None else value
    if not isinstance(kind, tuple):
        return value
    if kind[0] == "list":
        return [unstored(item, kind[1]) for item in value]
    return {name: unstored(value[name], found) for name, found in kind[1]}


@lru_cache(1 << 14)
def mixes(kind: Kind) -> bool:
    """Whether one value of this kind may hold integers among floats: in a list of floats, at any depth."""
    if not isinstance(kind, tuple):
        return False
    return _has_float(kind[1]) if kind[0] == "list" else any(mixes(k) for _, k in kind[1])


def _has_float(kind: Kind) -> bool:
    if isinstance(kind, tuple):
        return _has_float(kind[1]) if kind[0] == "list" else any(_has_float(k) for _, k in kind[1])
    return kind == "float"


def unmixed(value: Any, kind: Kind) -> Any:
    """A value of `kind` with floats where that has them; an integer that no float equals is left for an error."""
    if value is None or isinstance(kind, str):
        return float(value) if kind == "float" and value is not None and float(value) == value else value
    if not isinstance(kind, tuple):
        return value
    if kind[0] == "list":
        return [unmixed(item, kind[1]) for item in value]
    columns = dict(kind[1])
    return {name: unmixed(item, columns[name]) for name, item in value.items()}


@lru_cache(1 << 14)
def is_json(kind: Kind) -> bool:
    """Whether JSON text says which value it was: no bytes, dates, decimals."""
    if isinstance(kind, tuple):
        return is_json(kind[1]) if kind[0] == "list" else all(is_json(k) for _, k in kind[1])
    return isinstance(kind, str) and kind != "bytes"


@lru_cache(1 << 14)
def arrow_of(kind: Kind) -> pa.DataType:
    if isinstance(kind, str):
        return _ARROW[kind]
    if isinstance(kind, tuple):
        if kind[0] == "list":
            return pa.list_(arrow_of(kind[1]))
        return pa.struct([(name, arrow_of(k)) for name, k in kind[1]])
    return kind


def kind_of_arrow(type: pa.DataType) -> Kind:
    """The kind that holds the values of an Arrow type."""
    for name, arrow in _ARROW.items():
        if type == arrow:
            return name
    if pa.types.is_integer(type):
        return "int"
    if pa.types.is_floating(type):
        return "float"
    if pa.types.is_list(type):
        return ("list", kind_of_arrow(type.value_type))
    if pa.types.is_struct(type):
        return ("table", tuple(sorted((f.name, kind_of_arrow(f.type)) for f in type)))
    return type


def schema_of(kind: Kind) -> pa.Schema:
    """The columns of a table kind, sorted by name."""
    return pa.schema([(name, arrow_of(k)) for name, k in columns_of(kind)])


def kind_of_schema(schema: pa.Schema) -> Kind:
    return kind_of_arrow(pa.struct(list(schema)))


def to_text(kind: Kind) -> str:
    """A kind as JSON: "str", [kind], {name: kind}; what is none of these as an Arrow schema in base64."""
    return json.dumps(_plain_of(kind), sort_keys=True, separators=(",", ":"), ensure_ascii=False)


def from_text(text: str) -> Kind:
    return _kind_of_plain(json.loads(text))


def _plain_of(kind: Kind) -> Any:
    if isinstance(kind, str):
        return kind
    if isinstance(kind, tuple):
        return [_plain_of(kind[1])] if kind[0] == "list" else {name: _plain_of(k) for name, k in kind[1]}
    return "arrow:" + base64.b64encode(pa.schema([("", kind)]).serialize()).decode()


def _kind_of_plain(value: Any) -> Kind:
    if isinstance(value, list):
        return ("list", _kind_of_plain(value[0]))
    if isinstance(value, dict):
        return ("table", tuple(sorted((name, _kind_of_plain(v)) for name, v in value.items())))
    if value.startswith("arrow:"):
        return pa.ipc.read_schema(pa.py_buffer(base64.b64decode(value[6:]))).field(0).type
    return str(value)


def _words(kind: Kind) -> str:
    if isinstance(kind, tuple):
        return "a list" if kind[0] == "list" else "a table"
    return str(kind)
