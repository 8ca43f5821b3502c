"""From a declared format, or from the first row, to the function that every row goes through."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any, NamedTuple

from tunekit.data.columns import Row
from tunekit.data.formats import (
    alpaca,
    chat,
    choices,
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
from tunekit.data.formats.toml import fields_line, one_of
from tunekit.forms import AUTO, FORMATS, form_of

Make = Callable[[Row], list[Row]]  # raises Fault
Fields = Mapping[str, Any]

_NORMALISERS: dict[str, Callable[[Naming], Callable[[Row], Row]]] = {
    "chat": chat.normaliser,
    "alpaca": alpaca.normaliser,
    "segments": segments.normaliser,
    "completion": completion.normaliser,
    "prompt": prompt.normaliser,
    "preference": preference.normaliser,
    "bradley_terry": preference.bradley_terry,
    "unpaired": unpaired.normaliser,
    "stepwise": stepwise.normaliser,
    "choices": choices.normaliser,
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

    def maker(self) -> Make:
        """Row → rows of the form (one; several of a conversation with `turns = "all"`). Raises Fault.

        It depends on the choice and the row alone. A row of the form comes out as it is.
        """
        naming = Naming(self.format, self.fields)
        if self.format == "ground_truth":
            return ground_truth.maker(naming)
        normalise = _NORMALISERS[self.format](naming)
        return lambda row: [normalise(row)]

    def keeps(self, form: str) -> bool:
        """Whether rows that are of a form already come out as they are."""
        return self.format == "rows" or (self.format == form and not self.fields)


def choose(format: str, fields: Fields, first: Row) -> Choice:
    """The format of a dataset whose first row this is; only `auto` looks at it. Raises Fault (`unknown-format`,
    `ambiguous-format`)."""
    if format != AUTO:
        return Choice(format, dict(fields))
    format, fields = _detected(first)
    return Choice(format, dict(fields), _words(format, fields, first))


def _detected(row: Row) -> tuple[str, dict[str, str]]:
    for rooms in (_CERTAIN, _LIKELY):
        found = [(format, fields) for format, detect in rooms for fields in detect(row)]
        if len(found) > 1:
            raise Fault(
                f"fits more than one format (columns: {columns_of(row)})",
                f"say which one:{one_of(found)}",
                "ambiguous-format",
            )
        if found:
            return found[0]
    ways = 'say `format` and `fields`, write a `map`, or keep the columns as they are: format = "rows"'
    talks = [(column, names) for column, value in row.items() if (names := chat.names_of(value)) is not None]
    if talks:  # a conversation under another name: what it is for, only its user knows
        uses = (("chat", "messages"), ("prompt", "prompt"))
        found = [(format, {field: column, **names}) for column, names in talks for format, field in uses]
        ways += f"; `{talks[0][0]}` is a conversation:{one_of(found)}"
    raise Fault(f"fits no format (columns: {columns_of(row)})", ways, "unknown-format")


def _words(format: str, fields: Fields, row: Row) -> str:
    used = {str(fields.get(column, column)) for column in FORMATS[format].columns}
    others = [str(column) for column in row if column not in used]
    line = fields_line(fields)
    return (
        f'columns {columns_of(row)}: format = "{format}"'
        + (f", {line}" if line else "")
        + (f"; kept beside it: {', '.join(sorted(others))}" if others else "")
    )
