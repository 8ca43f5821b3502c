"""Make a dataset: read → split → map → format → shuffle → limit → write.

Rows keep the number they were read with (from 0), so that errors and the ledger name a row of the source.
"""

from __future__ import annotations

import random
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any, NamedTuple

import msgspec

from tunekit.data.columns import Row
from tunekit.data.formats.choose import Choice, choose
from tunekit.data.formats.fault import Fault
from tunekit.data.rowset import write_dataset
from tunekit.errors import ActionError
from tunekit.protocol import Events, Request
from tunekit.steps.dataset.origin import Origin, read_rows
from tunekit.steps.dataset.spec import SPLIT, Dataset
from tunekit.usercode import load_function

_NAMED_ROWS = 20  # row numbers that the ledger names


class Numbered(NamedTuple):
    """A row and the number it was read with."""

    number: int
    row: Row


class Ledger(msgspec.Struct):
    """What became of the rows. `read` = `outside_split` + what the map saw; `made` of `map` minus `dropped`."""

    read: int = 0
    outside_split: int = 0
    dropped: int = 0
    dropped_rows: list[int] = []
    made: int = 0
    over_limit: int = 0
    kept: int = 0


def run(request: Request, events: Events) -> dict[str, str]:
    """Write the dataset. Raises ActionError (`map-failed`, `map-result`, `wrong-shape`, `empty-dataset`, …)."""
    spec = msgspec.convert(request.spec, Dataset)
    ledger = Ledger()
    origin = Origin()
    rows = [Numbered(n, row) for n, row in enumerate(read_rows(request, spec, origin, events.warning))]
    ledger.read = len(rows)
    rows = _split(rows, spec.split)
    ledger.outside_split = ledger.read - len(rows)
    if spec.map:
        rows = list(_mapped(rows, spec, request.code_root, origin, ledger, events))
    choice = _choice(rows, spec, origin, events)
    rows = list(_formatted(rows, choice, origin))
    ledger.made = len(rows)
    if spec.shuffle:
        random.Random(spec.seed).shuffle(rows)
    kept = rows[: spec.limit]
    ledger.over_limit = len(rows) - len(kept)
    ledger.kept = len(kept)
    events.effective(ledger=msgspec.to_builtins(ledger), format=choice.format, form=choice.form, fields=choice.fields)
    write_dataset(Path(request.out) / "main", (n.row for n in kept), choice.form)
    events.progress(len(kept), len(kept), "row")
    return {"main": "main"}


def _split(rows: list[Numbered], split: str) -> list[Numbered]:
    """The slice of a split (`train[:10%]`); its name has already chosen the files."""
    found = SPLIT.match(split)
    assert found is not None  # the spec's checks have seen it
    return rows[_bound(found["from"], len(rows), 0) : _bound(found["to"], len(rows), len(rows))]


def _bound(text: str | None, total: int, default: int) -> int:
    if not text:
        return default
    return total * int(text[:-1]) // 100 if text.endswith("%") else int(text)


def _mapped(
    rows: list[Numbered], spec: Dataset, code_root: str, origin: Origin, ledger: Ledger, events: Events
) -> Iterator[Numbered]:
    """Rows that `map` makes; a row that it drops goes into the ledger."""
    function = load_function(code_root, spec.map)
    args: dict[str, Any] = {} if spec.source.startswith("make:") else spec.args
    for done, (number, row) in enumerate(rows, 1):
        try:
            result = function(row, **args)
            made = list(_results(result))
        except ActionError:
            raise
        except Exception as e:
            raise ActionError(
                f"{spec.map} raised {type(e).__name__} on {origin.where(number)}: {e}",
                slug="map-failed",
                hint="the log has the traceback; return None to drop a row",
            ) from e
        if not all(_is_row(item) for item in made):
            raise ActionError(
                f"{spec.map} returned {type(result).__name__} on {origin.where(number)}",
                slug="map-result",
                hint="return a dict with string keys, a list of such dicts, or None to drop the row",
            )
        if not made:
            ledger.dropped += 1
            if len(ledger.dropped_rows) < _NAMED_ROWS:
                ledger.dropped_rows.append(number)
        events.progress(done, len(rows), "row")
        yield from (Numbered(number, item) for item in made)


def _results(result: Any) -> Iterable[Any]:
    if result is None:
        return []
    return result if isinstance(result, (list, Iterator)) else [result]


def _is_row(value: Any) -> bool:
    return isinstance(value, dict) and all(isinstance(key, str) for key in value)


def _choice(rows: list[Numbered], spec: Dataset, origin: Origin, events: Events) -> Choice:
    """The format, as it is declared or as the first row shows."""
    if not rows:
        return Choice("rows", {})
    first = rows[0]
    try:
        choice = choose(spec.format, spec.fields, first.row)
    except Fault as fault:
        raise _wrong(fault, spec.format, origin.where(first.number)) from None
    if choice.found:
        events.warning("format-detected", choice.found)
    return choice


def _formatted(rows: list[Numbered], choice: Choice, origin: Origin) -> Iterator[Numbered]:
    """Rows of the form. Raises ActionError (`wrong-shape`) for the first one that is not of the format."""
    make = choice.maker()
    for number, row in rows:
        try:
            yield from (Numbered(number, made) for made in make(row))
        except Fault as fault:
            raise _wrong(fault, choice.format, origin.where(number)) from None


def _wrong(fault: Fault, format: str, where: str) -> ActionError:
    what = f"{where} {fault.reason}" if format == "auto" else f"{where} is not a `{format}` row: {fault.reason}"
    return ActionError(what, slug=fault.slug, hint=fault.hint)
