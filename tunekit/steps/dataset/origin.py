"""Where a dataset's rows come from: files of a source, a `make:` function, or other datasets."""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Iterator
from pathlib import Path

from tunekit.data.columns import Row
from tunekit.data.readers import Warn, compare_columns, data_files, read_file
from tunekit.data.rowset import open_dataset
from tunekit.errors import ActionError
from tunekit.protocol import Request
from tunekit.steps.dataset.spec import SPLIT, Dataset
from tunekit.usercode import load_function


class Origin:
    """Remembers which rows came from where, in the order of reading, so that errors can name the file."""

    def __init__(self) -> None:
        self._starts: list[int] = []
        self._names: list[str] = []

    def begin(self, first_row: int, name: str) -> None:
        """Rows from `first_row` on come from `name`."""
        self._starts.append(first_row)
        self._names.append(name)

    def where(self, number: int) -> str:
        """`row 7` of all that was read, with its file and the row's number there."""
        at = bisect_right(self._starts, number) - 1
        if at < 0:
            return f"row {number}"
        inner = number - self._starts[at]
        return f"row {number} ({self._names[at]}" + (f", its row {inner})" if inner != number else ")")


def read_rows(request: Request, spec: Dataset, origin: Origin, warn: Warn) -> Iterator[Row]:
    """All rows before split and map. Raises ActionError of the readers, or `make-failed`, `make-result`."""
    if spec.source.startswith("make:"):
        yield from _made(request, spec, origin)
        return
    split = _split_name(spec.split)
    if "from" in request.inputs:
        if split:
            raise ActionError(
                f"split `{spec.split}`: datasets have no named splits",
                slug="unknown-split",
                hint="cut rows by number: `[:500]` or `[:10%]`",
            )
        yield from _from_datasets(request, origin)
        return
    root = Path(request.one("source").path)
    number = 0
    files = data_files(root, spec.reader, split, warn)
    compare_columns(files, warn, spec.encoding)
    for name, path, reader in files:
        origin.begin(number, name)
        for row in read_file(name, path, reader, warn, spec.encoding):
            yield row
            number += 1


def _split_name(split: str) -> str:
    found = SPLIT.match(split)
    return found["name"] if found else ""


def _from_datasets(request: Request, origin: Origin) -> Iterator[Row]:
    number = 0
    for source in request.inputs["from"]:
        dataset = open_dataset(source.path)
        origin.begin(number, source.label)
        yield from dataset.iter_rows()
        number += dataset.rows


def _made(request: Request, spec: Dataset, origin: Origin) -> Iterator[Row]:
    """Rows of a generator. Only what the function raises is its failure: nothing of ours runs inside the try."""
    name = spec.source.removeprefix("make:")
    if _split_name(spec.split):
        raise ActionError(f"split `{spec.split}`: {name} has no named splits", slug="unknown-split")
    function = load_function(request.code_root, name)
    origin.begin(0, name)
    number = 0
    try:
        rows = iter(function(**{"seed": spec.seed, **spec.args}))
        for row in rows:
            if not isinstance(row, dict):
                raise ActionError(
                    f"{name}, row {number}: {type(row).__name__}, not a dict",
                    slug="make-result",
                    hint="return an iterable of dicts, one a row",
                )
            yield row
            number += 1
    except ActionError:
        raise
    except Exception as e:
        raise ActionError(
            f"{name} raised {type(e).__name__} at row {number}: {e}",
            slug="make-failed",
            hint="it is called as fn(**args, seed=…); the log has the traceback",
        ) from e
