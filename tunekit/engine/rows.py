"""Views over token parts: which rows, cut where. Nothing is copied or tokenized again; every row is accounted for."""

from __future__ import annotations

from fractions import Fraction
from typing import Any, Literal, NamedTuple, Protocol

import numpy as np
import pyarrow as pa

from tunekit.data.rowset import map_table
from tunekit.data.tokenset import open_tokens, part_file
from tunekit.engine.heldout import Side
from tunekit.errors import ActionError
from tunekit.protocol import Events

Overlong = Literal["error", "split", "truncate", "drop"]
_HINT = 'overlong = "split", "truncate" or "drop" says what is done with them; or raise sequence_len'


class Chunk:
    """One record batch of a memory-mapped part: `starts[i]:starts[i + 1]` are row i's tokens in the flat columns."""

    def __init__(
        self, ids: pa.ListArray, labelled: pa.ListArray, rows: np.ndarray, verdicts: pa.ListArray | None = None
    ) -> None:
        self.rows = rows  # the dataset's row numbers
        self._verdicts = verdicts
        self.starts = ids.offsets.to_numpy().astype(np.int64)
        self._ids = ids.values.to_numpy()
        self._labelled = labelled.values

    def read(self, start: int, stop: int) -> tuple[np.ndarray, np.ndarray]:
        """Token ids (int32) and label flags (bool) of flat positions start:stop."""
        flags = self._labelled.slice(start, stop - start).to_numpy(zero_copy_only=False)
        return self._ids[start:stop], flags

    def verdicts(self, start: int) -> list[bool]:
        """What the row that flat position `start` is in says of its answer, or of each of its labelled tokens."""
        if self._verdicts is None:
            raise ActionError("the tokens have no verdicts", slug="bad-tokens")
        found: list[bool] = self._verdicts[int(np.searchsorted(self.starts, start, "right")) - 1].as_py()
        return found

    def labels_before(self) -> np.ndarray:
        """[n] is the number of labelled tokens among the first n flat ones."""
        flags = self._labelled.to_numpy(zero_copy_only=False)
        return np.concatenate([[0], np.cumsum(flags, dtype=np.int64)])


class Held(Protocol):
    """Tokens of an artifact or in memory."""

    @property
    def pad_token_id(self) -> int: ...

    def sequence(self, chunk: int, start: int, stop: int) -> tuple[np.ndarray, np.ndarray]:
        """(input_ids, labels) of a span, int64; a token without a label is -100."""
        ...


class Tokens:
    """A token artifact for random access: `items[i]` are the numbers of the chunks of dataset i, in order."""

    def __init__(self, directory: str) -> None:
        self.directory = directory
        found = open_tokens(directory)
        # Padding is masked and carries no label, so without a pad token any id will do.
        self.pad_token_id: int = found.pad_token_id or 0
        self.chunks: list[Chunk] = []
        self.items: list[list[int]] = []
        self.reads = [item.reads for item in found.items]
        for item in found.items:
            first = len(self.chunks)
            for part in item.parts:
                self.chunks += _chunks(map_table(part_file(item.path, part.digest)), part.first_row)
            self.items.append(list(range(first, len(self.chunks))))

    def verdicts(self, chunk: int, start: int) -> list[bool]:
        """Those of the row of a span; all of them, wherever it is cut."""
        return self.chunks[chunk].verdicts(start)

    def __reduce__(self) -> tuple[Any, ...]:
        # Reopened by path: a pickled or hashed view must not carry its data.
        return Tokens, (self.directory,)

    def sequence(self, chunk: int, start: int, stop: int) -> tuple[np.ndarray, np.ndarray]:
        """(input_ids, labels) of flat positions start:stop, int64; a token without a label is -100."""
        ids, labelled = self.chunks[chunk].read(start, stop)
        return ids.astype(np.int64), np.where(labelled, ids, np.int64(-100))


def _chunks(table: pa.Table, first_row: int) -> list[Chunk]:
    return [
        Chunk(
            batch.column("input_ids"),
            batch.column("labelled"),
            batch.column("row").to_numpy() + first_row,
            batch.column("verdicts") if "verdicts" in batch.schema.names else None,
        )
        for batch in table.to_batches()
        if batch.num_rows
    ]


DONE: dict[str, str] = {"split": "split", "truncate": "truncated", "drop": "dropped"}
NAMED = 20  # rows that a ledger names


class View(NamedTuple):
    """Sequences as (chunk, start, stop), an int64 array of shape [n, 3], and what became of every row."""

    spans: np.ndarray
    ledger: dict[str, Any]


def view_of(
    tokens: Tokens,
    item: int,
    sequence_len: int,
    overlong: Overlong,
    *,
    limit: int | None = None,
    weight: float = 1.0,
    name: str = "data",
    side: Side | None = None,
) -> View:
    """The sequences of one item after limit, weight and length policy, in the order of its rows.

    `split` cuts with one token of overlap, since the first token of a sequence is never predicted: every label
    counts once. Sequences without a label to predict are left out and counted as `unlabelled`. `side`: the rows of
    one side of `val` only.
    Raises ActionError `row-too-long` where overlong is `error`.
    """
    chunks, starts, stops, numbers = rows_of(tokens, item)
    rows = len(chunks)
    picked = strided(rows if limit is None else min(rows, limit), weight)
    chosen = picked[side.of(tokens, [Rows(chunks, starts, stops, numbers).take(picked)])] if side else picked
    chunks, starts, stops = chunks[chosen], starts[chosen], stops[chosen]
    long = stops - starts > sequence_len
    selected = len(np.unique(chosen))
    other = {side.other: len(np.unique(picked)) - selected} if side else {}
    ledger = {"rows": rows, "not_selected": rows - selected - sum(other.values()), **other}
    ledger |= {"split": 0, "truncated": 0, "dropped": 0}
    if len(chosen) > selected:
        ledger["repeated"] = len(chosen) - selected
    if long.any():
        if overlong == "error":
            raise ActionError(
                f"{int(long.sum())} of {len(chunks)} rows of {name} are longer than sequence_len {sequence_len}: the "
                f"first is row {int(numbers[chosen][long][0])}, the longest has {int((stops - starts).max())} tokens",
                slug="row-too-long",
                hint=_HINT,
            )
        ledger[DONE[overlong]] = int(long.sum())
        ledger["long_rows"] = numbers[chosen][long][:NAMED].tolist()
    spans = cut(chunks, starts, stops, sequence_len, overlong)
    labels = labels_in(tokens, spans)
    kept = spans[labels > 0]
    ledger |= {
        "unlabelled": len(spans) - len(kept),
        "sequences": len(kept),
        "tokens": int((kept[:, 2] - kept[:, 1]).sum()),
        "labelled_tokens": int(labels.sum()),
    }
    return View(kept, ledger)


def warn_of_length(name: str, view: View, sequence_len: int, overlong: Overlong, events: Events) -> None:
    """A warning, if the length policy changed rows of the dataset."""
    long = view.ledger.get(DONE.get(overlong, ""), 0)
    if long:
        message = f"{name}: {long} rows longer than sequence_len {sequence_len} were {DONE[overlong]}"
        events.warning("overlong", message, rows=view.ledger["long_rows"])


class Rows(NamedTuple):
    """Of every row: its chunk, where its tokens start and stop, and its number in the dataset."""

    chunks: np.ndarray
    starts: np.ndarray
    stops: np.ndarray
    numbers: np.ndarray

    def take(self, which: np.ndarray) -> Rows:
        return Rows(*(column[which] for column in self))


def rows_of(tokens: Tokens, item: int) -> Rows:
    """All rows of an item."""
    numbers = tokens.items[item]
    found = [tokens.chunks[n] for n in numbers]
    columns = (
        [np.full(len(c.rows), n, np.int64) for n, c in zip(numbers, found, strict=True)],
        [c.starts[:-1] for c in found],
        [c.starts[1:] for c in found],
        [c.rows for c in found],
    )
    return Rows(*(np.concatenate([np.zeros(0, np.int64), *column]) for column in columns))


def strided(rows: int, weight: float) -> np.ndarray:
    """Indices of an even share of the first `rows` rows: row i as often as floor((i + 1) * weight) steps up."""
    if weight == 1.0:
        return np.arange(rows)
    share = Fraction(weight).limit_denominator(1_000_000)
    steps = np.arange(rows + 1, dtype=np.int64) * share.numerator // share.denominator
    return np.repeat(np.arange(rows), np.diff(steps))


def cut(chunks: np.ndarray, starts: np.ndarray, stops: np.ndarray, length: int, overlong: Overlong) -> np.ndarray:
    """Spans of rows after the length policy, [n, 3]. `chunks` is handed through: whatever the rows belong to."""
    if overlong == "drop":
        fits = stops - starts <= length
        chunks, starts, stops = chunks[fits], starts[fits], stops[fits]
    elif overlong == "truncate":
        stops = np.minimum(stops, starts + length)
    elif overlong == "split":
        pieces = np.maximum(1, -(-(stops - starts - 1) // (length - 1)))
        nth = np.arange(pieces.sum()) - np.repeat(np.cumsum(pieces) - pieces, pieces)
        chunks, stops = np.repeat(chunks, pieces), np.repeat(stops, pieces)
        starts = np.repeat(starts, pieces) + nth * (length - 1)
        stops = np.minimum(stops, starts + length)
    return np.stack([chunks, starts, stops], axis=1)


def labels_in(tokens: Tokens, spans: np.ndarray) -> np.ndarray:
    """Labels that can be predicted in each span (ordered by chunk): its first token has nothing before it."""
    numbers, edges, sizes = np.unique(spans[:, 0], return_index=True, return_counts=True)
    out = np.zeros(len(spans), np.int64)
    for number, edge, size in zip(numbers.tolist(), edges, sizes, strict=True):
        mine = slice(edge, edge + size)
        before = tokens.chunks[number].labels_before()
        first, last = spans[mine, 1], spans[mine, 2]
        out[mine] = np.where(last > first, before[last] - before[np.minimum(first + 1, last)], 0)
    return out
