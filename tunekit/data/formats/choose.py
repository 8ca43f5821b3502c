"""From a declared format, or from the first row, to the function that every row goes through."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any, NamedTuple

from tunekit.data.columns import Row
from tunekit.data.formats import (
    alpaca,
    chat,
    completion,
    ground_truth,
    preference,
    prompt,
    segments,
    stepwise,
    tokens,
    unpaired,
)
from tunekit.data.formats.fault import Fault
from tunekit.data.formats.naming import Naming, columns_of
from tunekit.data.formats.toml import fields_line, format_line
from tunekit.forms import AUTO, FORMATS, form_of

Normalise = Callable[[Row], Row]  # raises Fault
Fields = Mapping[str, Any]

_NORMALISERS: dict[str, Callable[[Naming], Normalise]] = {
    "chat": chat.normaliser,
    "alpaca": alpaca.normaliser,
    "segments": segments.normaliser,
    "completion": completion.normaliser,
    "prompt": prompt.normaliser,
    "preference": preference.normaliser,
    "bradley_terry": preference.bradley_terry,
    "unpaired": unpaired.normaliser,
    "stepwise": stepwise.normaliser,
    "ground_truth": ground_truth.normaliser,
    "tokens": tokens.normaliser,
    "rows": lambda naming: lambda row: row,
}

# What `auto` looks for. Columns of the first list cannot mean anything else; if a row has some of these, the
# second list is not looked at.
_Detect = Callable[[Row], list[dict[str, str]]]
_CERTAIN: list[tuple[str, _Detect]] = [
    ("tokens", tokens.detect),
    ("stepwise", stepwise.detect),
    ("preference", preference.detect),
    ("unpaired", unpaired.detect),
    ("segments", segments.detect),
    ("ground_truth", ground_truth.detect),
    ("alpaca", alpaca.detect),
]
_LIKELY: list[tuple[str, _Detect]] = [
    ("chat", chat.detect),
    ("segments", segments.detect_pair),
    ("ground_truth", ground_truth.detect_pair),
    ("completion", completion.detect),
    ("prompt", prompt.detect),
]


class Choice(NamedTuple):
    """What the rows of a dataset are. `found`: what `auto` saw, in words; empty for a declared format."""

    format: str
    fields: dict[str, Any]
    found: str = ""

    @property
    def form(self) -> str:
        """What they become; `dataset.json` names it."""
        return form_of(self.format, self.fields)

    def normaliser(self) -> Normalise:
        """Row → row of the form. Raises Fault; on a row of the form it changes nothing."""
        return _NORMALISERS[self.format](Naming(self.format, self.fields))


def choose(format: str, fields: Fields, first: Row) -> Choice:
    """The format of a dataset whose first row this is. Raises Fault (`unknown-format`, `ambiguous-format`)."""
    found = ""
    if format == AUTO:
        format, fields = _detected(first)
        found = _words(format, fields, first)
    if "system" in FORMATS[format].columns and "system" not in fields and "system" in first:
        fields = {**fields, "system": "system"}  # so it is a column of every row, and all become conversations
    return Choice(format, dict(fields), found)


def splitter(format: str, fields: Fields) -> Callable[[Row], list[Row]] | None:
    """What makes several rows of one before they are counted and shuffled; None where nothing does."""
    if format == "ground_truth" and fields.get("turns") == "all":
        return ground_truth.splitter(Naming(format, fields))
    return None


def _detected(row: Row) -> tuple[str, dict[str, str]]:
    for rooms in (_CERTAIN, _LIKELY):
        found = [(format, fields) for format, detect in rooms for fields in detect(row)]
        if len(found) > 1:
            raise Fault(
                f"fits more than one format (columns: {columns_of(row)})",
                "say which one:\n" + "\n".join(f"    {format_line(*candidate)}" for candidate in found),
                "ambiguous-format",
            )
        if found:
            return found[0]
    raise Fault(
        f"fits no format (columns: {columns_of(row)})",
        'say `format` and `fields`, write a `map`, or keep the columns as they are: format = "rows"',
        "unknown-format",
    )


def _words(format: str, fields: Fields, row: Row) -> str:
    used = {str(fields.get(column, column)) for column in FORMATS[format].columns}
    others = [str(column) for column in row if column not in used]
    line = fields_line(fields)
    return (
        f'columns {columns_of(row)}: format = "{format}"'
        + (f", {line}" if line else "")
        + (f"; kept beside it: {', '.join(sorted(others))}" if others else "")
    )
