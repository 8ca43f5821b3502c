"""The tokens artifact: for every dataset of a run its token ids and labels, part by part.

    tokens.json          {"format": 1, "items": [{"shape", "train_on", "rows", "tokens", "labelled",
                          "parts": [{"digest", "first_row", "rows", "tokens"}], "ledger", "reads"?}],
                          "pad_token_id", "eos_token_id", "vocab_size"}
    parts/<64 hex>.arrow  columns input_ids list<int32>, labelled list<bool>, verdicts? list<bool>, row int64

A part is cached under the chunk that it was made from, wherever in a dataset that chunk stands: its column
`row` counts from the chunk's first row, which is the dataset's row `first_row`. `verdicts` is there where rows have
them: one of a whole answer, or one a labelled token. A pair of answers is two items, of the same rows.
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from itertools import chain
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from tunekit.data.arrays import fixed, flags, lists, settled
from tunekit.data.encoder import Encoded
from tunekit.data.rowset import iter_table, map_table, place_file, read_index, write_index
from tunekit.hashing import hex_of

FORMAT = 1
_COLUMNS = pa.schema([("input_ids", pa.list_(pa.int32())), ("labelled", pa.list_(pa.bool_()))])
_VERDICTS = pa.field("verdicts", pa.list_(pa.bool_()))
_ROW = pa.field("row", pa.int64())
SCHEMA = _COLUMNS.append(_ROW)  # of a part without verdicts
_BATCH = 512  # rows in a record batch; part of the bytes, so never made configurable


class TokenPart(NamedTuple):
    """One part as `tokens.json` lists it. `first_row`: the dataset's row that the part's row 0 is."""

    digest: str
    first_row: int
    rows: int
    tokens: int


class TokenSet(NamedTuple):
    """One dataset's tokens."""

    path: Path
    shape: str
    train_on: str
    row_count: int
    tokens: int
    labelled: int
    parts: list[TokenPart]
    ledger: dict[str, Any]
    reads: str = "loss"  # tunekit.forms.Reads

    def tables(self) -> Iterator[tuple[TokenPart, pa.Table]]:
        """The parts in order, each memory-mapped."""
        for part in self.parts:
            yield part, map_table(part_file(self.path, part.digest))

    def rows(self) -> Iterator[tuple[list[int], list[bool]]]:
        """`(input_ids, labelled)` of every row, in order; the two are of equal length."""
        for _, table in self.tables():
            for row in iter_table(table.select(["input_ids", "labelled"])):
                yield row["input_ids"], row["labelled"]

    def row_numbers(self) -> Iterator[int]:
        """The number in the dataset of every row; rows without a label are not here, so it has gaps."""
        for part, table in self.tables():
            yield from (part.first_row + n for n in table.column("row").to_pylist())


class Tokens(NamedTuple):
    """An opened tokens artifact."""

    items: list[TokenSet]
    pad_token_id: int | None
    eos_token_id: int | None
    vocab_size: int


def open_tokens(path: str | os.PathLike[str]) -> Tokens:
    """The tokens in a directory. Raises ActionError (`not-a-tokens`)."""
    root = Path(path)
    body = read_index(root / "tokens.json", FORMAT, "tokens")
    items = [
        TokenSet(
            path=root,
            shape=item["shape"],
            train_on=item["train_on"],
            row_count=item["rows"],
            tokens=item["tokens"],
            labelled=item["labelled"],
            parts=[TokenPart(**p) for p in item["parts"]],
            ledger=item["ledger"],
            reads=item.get("reads", "loss"),
        )
        for item in body["items"]
    ]
    return Tokens(items, body["pad_token_id"], body["eos_token_id"], body["vocab_size"])


def write_tokens(path: Path, tokens: Tokens) -> None:
    """Write `tokens.json`; the parts are already there (`place_part`)."""
    items = [
        {
            "shape": item.shape,
            "train_on": item.train_on,
            "rows": item.row_count,
            "tokens": item.tokens,
            "labelled": item.labelled,
            "parts": [part._asdict() for part in item.parts],
            "ledger": item.ledger,
            **({"reads": item.reads} if item.reads != "loss" else {}),
        }
        for item in tokens.items
    ]
    write_index(path / "tokens.json", {"format": FORMAT, **tokens._asdict(), "items": items})


def table_of(rows: list[Encoded], verdicts: bool = False) -> pa.Table:
    """Rows as columns input_ids and labelled, and verdicts where rows of the form have them."""
    lengths = [len(e.input_ids) for e in rows]
    total = sum(lengths)
    ids = np.fromiter(chain.from_iterable(e.input_ids for e in rows), np.int32, total)
    labelled = np.frombuffer(b"".join(bytes(e.labelled) for e in rows), np.bool_, total)
    table = pa.table([lists(lengths, fixed(ids, pa.int32())), lists(lengths, flags(labelled))], schema=_COLUMNS)
    if not verdicts:
        return table
    counts = [len(e.verdicts) for e in rows]
    said = np.fromiter(chain.from_iterable(e.verdicts for e in rows), np.bool_, sum(counts))
    return table.append_column(_VERDICTS, lists(counts, flags(said)))


def only_tokens(table: pa.Table) -> pa.Table:
    """The columns of a part that `table_of` makes."""
    columns = _COLUMNS.append(_VERDICTS) if _VERDICTS.name in table.column_names else _COLUMNS
    return table.select(columns.names).cast(columns)


def write_part(file: Path, table: pa.Table, numbers: NDArray[np.int64]) -> None:
    """Rows (`table_of`) as an Arrow file, each with its number in the chunk; the numbers rise. Equal rows give equal
    bytes, wherever they come from."""
    table = table.append_column(_ROW, fixed(numbers, pa.int64()))
    with pa.OSFile(str(file), "wb") as sink, pa.ipc.new_file(sink, table.schema) as writer:
        for start in range(0, len(table), _BATCH):
            columns = [settled(c.combine_chunks()) for c in table.slice(start, _BATCH).columns]
            writer.write_batch(pa.record_batch(columns, schema=table.schema))


def part_file(root: Path, digest: str) -> Path:
    return root / "parts" / f"{hex_of(digest)}.arrow"


def place_part(root: Path, digest: str, file: Path) -> None:
    """Put a part's file into the artifact."""
    place_file(file, part_file(root, digest))
