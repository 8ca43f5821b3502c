"""Where a dataset's rows come from: files of a source, a `make:` function, or other datasets. Nothing is held whole."""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Iterable, Iterator
from functools import cached_property
from itertools import islice
from pathlib import Path

from tunekit.data.columns import Row
from tunekit.data.readers import Block, Rows, Warn, compare_columns, count_rows, data_files, read_blocks
from tunekit.data.rowset import Dataset as Opened
from tunekit.data.rowset import open_dataset
from tunekit.errors import ActionError
from tunekit.label import came_from
from tunekit.protocol import Request
from tunekit.steps.dataset.raw import Raw, TableChunk, cut
from tunekit.steps.dataset.spec import Dataset, bounds, needs_total, split_name
from tunekit.usercode import load_function

_BATCH = 256  # rows of a generator that are looked at together


class Origin:
    """The rows of a dataset before map, in order, and which of them came from where, so that errors can say it."""

    def __init__(self, request: Request, spec: Dataset, warn: Warn) -> None:
        self.read = 0  # rows that were passed so far
        self.outside = 0  # those of them that are not in the split
        self.total = 0  # rows there are in the split; 0 if nobody counted them
        self._request = request
        self._spec = spec
        self._warn = warn
        self.starts: list[int] = []  # the numbers at which files (or datasets) begin
        self._names: list[str] = []

    def where(self, number: int) -> str:
        """`row 7` of all that was read, with its file and the row's number there."""
        name, inner = self.place(number)
        return f"row {number}" + came_from(name, inner, number)

    def place(self, number: int) -> tuple[str, int]:
        """The file (or dataset; empty if it is none) of a row of all that was read, and the row's number there."""
        at = bisect_right(self.starts, number) - 1
        return (self._names[at], number - self.starts[at]) if at >= 0 else ("", number)

    def chunks(self) -> Iterator[Raw]:
        """The rows inside the split, cut by content; a row's number is that among all rows.

        When it is read to its end, the rows behind the split are counted as well. Raises ActionError of the readers,
        or `make-failed`, `make-result`.
        """
        total = self._count() if needs_total(self._spec.split) else None
        start, stop = bounds(self._spec.split, total)
        if total is not None and stop is not None:
            self.total = stop - start
        if "from" in self._request.inputs:
            yield from self._tables(start, stop)
        else:
            yield from cut(self._inside(self._blocks(), start, stop), start, self.where)

    def _begin(self, name: str) -> None:
        self.starts.append(self.read)
        self._names.append(name)

    def _inside(self, blocks: Iterable[Block], start: int, stop: int | None) -> Iterator[Block]:
        """Blocks without what lies outside of start:stop."""
        for block in blocks:
            first = self.read
            self.read += block.n
            begin, end = max(start - first, 0), block.n if stop is None else min(stop - first, block.n)
            self.outside += block.n - max(end - begin, 0)
            if begin < end:
                yield block.part(begin, end)

    # -- files and generators ------------------------------------------------------------------

    @cached_property
    def _files(self) -> list[tuple[str, Path, str]]:
        root = Path(self._request.one("source").path)
        return data_files(root, self._spec.reader, split_name(self._spec.split), self._warn)

    def _blocks(self) -> Iterator[Block]:
        if self._spec.source.startswith("make:"):
            self._begin(self._spec.source.removeprefix("make:"))
            rows = self._made()
            first = 0
            while some := list(islice(rows, _BATCH)):
                yield Rows(self._names[-1], first, some)
                first += len(some)
            return
        files, encoding = self._files, self._spec.encoding
        compare_columns(files, self._warn, encoding)
        for name, path, reader in files:
            self._begin(name)
            yield from read_blocks(name, path, reader, self._warn, encoding)

    def _made(self) -> Iterator[Row]:
        """Rows of a generator. Only what the function raises is its failure: nothing of ours runs inside the try."""
        name = self._spec.source.removeprefix("make:")
        if split_name(self._spec.split):
            raise ActionError(f"split `{self._spec.split}`: {name} has no named splits", slug="unknown-split")
        function = load_function(self._request.code_root, name)
        number = 0
        try:
            rows = iter(function(**{"seed": self._spec.seed, **self._spec.args}))
            for row in rows:
                if not isinstance(row, dict):
                    raise ActionError(
                        f"{name}, row {number}: {type(row).__name__}, not a dict",
                        slug="make-result",
                        hint="return an iterable of dicts, one a row",
                    )
                yield dict(row)  # a generator may fill the same one again
                number += 1
        except ActionError:
            raise
        except Exception as e:
            raise ActionError(
                f"{name} raised {type(e).__name__} at row {number}: {e}",
                slug="make-failed",
                hint="it is called as fn(**args, seed=…); the log has the traceback",
            ) from e

    def _count(self) -> int:
        if "from" in self._request.inputs:
            return sum(dataset.rows for _, dataset in self._datasets())
        if self._spec.source.startswith("make:"):
            return sum(1 for _ in self._made())
        return sum(count_rows(*file, self._spec.encoding) for file in self._files)

    # -- other datasets ------------------------------------------------------------------------

    def _datasets(self) -> list[tuple[str, Opened]]:
        if split_name(self._spec.split):
            raise ActionError(
                f"split `{self._spec.split}`: datasets have no named splits",
                slug="unknown-split",
                hint="cut rows by number: `[:500]` or `[:10%]`",
            )
        return [(source.label, open_dataset(source.path)) for source in self._request.inputs["from"]]

    def _tables(self, start: int, stop: int | None) -> Iterator[TableChunk]:
        """Chunks as they are in the datasets; at the edges of the split, what is inside."""
        found = self._datasets()
        last = sum(dataset.rows for _, dataset in found) if stop is None else stop
        self.total = max(0, last - start)
        for label, dataset in found:
            self._begin(label)
            for chunk in dataset.chunk_list:
                first = self.read
                self.read += chunk.rows
                begin, end = max(start - first, 0), min(last - first, chunk.rows)
                self.outside += chunk.rows - max(end - begin, 0)
                if begin < end:
                    yield TableChunk(first + begin, dataset, chunk, begin, end)
