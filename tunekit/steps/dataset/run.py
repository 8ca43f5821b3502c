"""Make a dataset: read → split → map → shuffle → limit → check the shape → write.

Rows keep the number they were read with (from 0), so that errors and the ledger name a row of the source.
"""

from __future__ import annotations

import random
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any, NamedTuple

import msgspec

from tunekit.data.columns import Row
from tunekit.data.formats import fault_of
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
    ledger.made = len(rows)
    if spec.shuffle:
        random.Random(spec.seed).shuffle(rows)
    kept = rows[: spec.limit]
    ledger.over_limit = len(rows) - len(kept)
    ledger.kept = len(kept)
    _check_shape(kept, spec.format, origin)
    events.effective(ledger=msgspec.to_builtins(ledger))
    write_dataset(Path(request.out) / "main", (n.row for n in kept), spec.format)
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


def _check_shape(rows: list[Numbered], shape: str, origin: Origin) -> None:
    for number, row in rows:
        fault = fault_of(shape, row)
        if fault:
            raise ActionError(
                f"{origin.where(number)} is not a `{shape}` row: {fault.reason}", slug="wrong-shape", hint=fault.hint
            )
