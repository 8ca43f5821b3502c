"""Where the columns of a format stand in a row: names, nested paths, and what is left beside them."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from difflib import get_close_matches
from typing import Any

from tunekit.data.columns import Row
from tunekit.data.formats.fault import Fault, shown
from tunekit.forms import FORMATS, FORMS, form_of

MISSING = object()


class Naming:
    """The columns of one format as a dataset names them. A path `a.b` is column `a`, key `b`, unless there is a
    column `a.b`. Missing and null are the same for a column that need not be there."""

    def __init__(self, format: str, fields: Mapping[str, Any]) -> None:
        declared = FORMATS[format]
        self.format = format
        self.fields = fields
        self.form = form_of(format, dict(fields))
        self.names: dict[str, str] = {c: str(fields.get(c, c)) for c in declared.columns}
        # Names that a row of the form would be read by again: no other column may have them.
        self._reserved = {*FORMS[self.form], *({"system", "attention_mask"} & {*FORMATS[self.form].columns})}
        self.choices = {key: str(fields.get(key, options[0])) for key, options in declared.choices.items()}
        self.hint = "name the columns in `fields`, or write a `map` that makes such rows (docs/formats.md)"

    def find(self, row: Row, column: str) -> Any:
        """The column's value; None if it is null or missing."""
        found = at(row, self.names[column])
        return None if found is MISSING else found

    def need(self, row: Row, column: str) -> Any:
        """The column's value. Raises Fault if it is null or missing."""
        name = self.names[column]
        found = at(row, name)
        if found is MISSING:
            raise Fault(f"has no `{name}` (columns: {columns_of(row)}){_nearest(name, row)}", self.hint)
        if found is None:
            raise Fault(f"`{name}` is null", self.hint)
        return found

    def has(self, row: Row, column: str) -> bool:
        """Whether the row has the column, be it null."""
        return at(row, self.names[column]) is not MISSING

    def given(self, column: str) -> bool:
        """Whether `fields` names the column, so that it means something in every row."""
        return column in self.fields

    def made(self, row: Row, made: Row, taken: Iterable[str]) -> Row:
        """The row of the form: `made`, and beside it the columns that were not taken.

        Raises Fault if one of these has the name of a column that the form is read by: neither may be lost.
        """
        rest = row
        for column in taken:
            rest = _without(rest, self.names[column])
        out = {name: value for name, value in made.items() if value is not None}
        for name, value in rest.items():
            if name not in self._reserved:
                out[name] = value
            elif value is not None:
                raise Fault(
                    f"has a column `{name}` of its own ({shown(value)}), which is what the format makes",
                    "rename or drop it with a `map`",
                )
        return out


def at(row: Any, path: str) -> Any:
    """What stands at a path, or MISSING."""
    if path in row:
        return row[path]
    head, dot, rest = path.partition(".")
    if not dot or not isinstance(row.get(head), dict):
        return MISSING
    return at(row[head], rest)


def _without(row: Row, path: str) -> Row:
    """A copy without what stands at a path; a table that is empty then goes too."""
    if path in row:
        return {k: v for k, v in row.items() if k != path}
    head, dot, rest = path.partition(".")
    if not dot or not isinstance(row.get(head), dict):
        return row
    inner = _without(row[head], rest)
    return {k: (inner if k == head else v) for k, v in row.items() if k != head or inner}


def columns_of(row: Row) -> str:
    return ", ".join(sorted(map(str, row))) or "none"


def _nearest(name: str, row: Row) -> str:
    paths = [str(column) for column in row]
    paths += [f"{k}.{inner}" for k, v in row.items() if isinstance(v, dict) for inner in v]
    tails = {path.rpartition(".")[2]: path for path in reversed(paths)}
    close = get_close_matches(name, paths, n=1) or get_close_matches(name, list(tails), n=1)
    return f"; the nearest is `{tails.get(close[0], close[0])}`" if close else ""
