"""What the columns of a dataset hold: types, nulls, lengths and values, at any depth (`messages[].role`)."""

from __future__ import annotations

from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from tunekit.lens.spread import Spread

VALUES = 12  # distinct texts up to which each is counted
_LONGEST = 60  # characters of a text that is counted so


class Column:
    """One column, or one field of what a column holds. `unit` says what its spread is of."""

    def __init__(self, path: str, kind: pa.DataType) -> None:
        self.path, self.kind = path, kind
        self.count = self.nulls = 0
        self.unit = _unit(kind)
        self.spread = Spread()
        self.values: dict[str, int] | None = {} if self.unit in ("characters", "") else None

    def add(self, array: pa.Array) -> None:
        self.count += len(array)
        self.nulls += array.null_count
        present = array.drop_null() if array.null_count else array
        if self.unit == "characters":
            lengths = np.from_dlpack(pc.utf8_length(present))
            self.spread.add(lengths)
            if lengths.max(initial=0) > _LONGEST:
                self.values = None
        elif self.unit == "items":
            self.spread.add(np.from_dlpack(pc.list_value_length(present)))
        elif self.unit == "bytes":
            self.spread.add(np.from_dlpack(pc.binary_length(present)))
        elif self.unit == "value":
            self.spread.add(np.from_dlpack(pc.cast(present, pa.float64(), safe=False)))
        if self.values is not None and (is_text(self.kind) or pa.types.is_boolean(self.kind)):
            self._count(present)

    def _count(self, present: pa.Array) -> None:
        """Until there are too many."""
        assert self.values is not None
        for found in pc.value_counts(present).to_pylist():
            value = found["values"]
            name = value if isinstance(value, str) else str(value).lower()
            self.values[name] = self.values.get(name, 0) + found["counts"]
            if len(self.values) > VALUES:
                self.values = None
                return

    def to_json(self) -> dict[str, Any]:
        values = sorted((self.values or {}).items(), key=lambda item: (-item[1], item[0]))
        # as many texts as rows say nothing that the lengths do not say
        shown = values if sum(n for _, n in values) > len(values) or pa.types.is_boolean(self.kind) else []
        return {
            "path": self.path,
            "type": _words(self.kind),
            "count": self.count,
            "nulls": self.nulls,
            "unit": self.unit,
            "spread": self.spread.summary(),
            "not_finite": self.spread.not_finite,
            "values": shown,
        }


class Columns:
    """All columns, in the order in which they are first seen: a column, then what is in it."""

    def __init__(self) -> None:
        self._found: dict[str, Column] = {}

    def add(self, table: pa.Table) -> None:
        for name, column in zip(table.column_names, table.columns, strict=True):
            for array in column.chunks:
                self._take(name, array)

    def _take(self, path: str, array: pa.Array) -> None:
        kind = array.type
        column = self._found.get(path)
        if column is None:
            column = self._found[path] = Column(path, kind)
        column.add(array)
        if pa.types.is_struct(kind):
            present = array.drop_null() if array.null_count else array
            for i, child in enumerate(present.flatten()):
                self._take(f"{path}.{kind.field(i).name}", child)
        elif is_list(kind):
            self._take(f"{path}[]", array.flatten())

    def to_json(self) -> list[dict[str, Any]]:
        """Items of a list that are tables themselves have no line of their own: their fields say all."""
        return [c.to_json() for c in self._found.values() if not (c.path.endswith("[]") and pa.types.is_struct(c.kind))]


def is_list(kind: pa.DataType) -> bool:
    return bool(pa.types.is_list(kind) or pa.types.is_large_list(kind))


def is_text(kind: pa.DataType) -> bool:
    return bool(pa.types.is_string(kind) or pa.types.is_large_string(kind))


def _unit(kind: pa.DataType) -> str:
    if is_text(kind):
        return "characters"
    if is_list(kind):
        return "items"
    if pa.types.is_binary(kind) or pa.types.is_large_binary(kind):
        return "bytes"
    if pa.types.is_integer(kind) or pa.types.is_floating(kind) or pa.types.is_decimal(kind):
        return "value"
    return ""


def _words(kind: pa.DataType) -> str:
    """The type, without what its own lines say."""
    if is_list(kind):
        return "list"
    return "table" if pa.types.is_struct(kind) else str(kind)
