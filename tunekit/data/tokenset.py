"""The tokens artifact: for every dataset of a run its token ids and labels, part by part.

    tokens.json          {"format": 1, "items": [{"shape", "train_on", "rows", "tokens", "labelled",
                          "parts": [{"digest", "first_row", "rows", "tokens"}], "ledger"}],
                          "pad_token_id", "eos_token_id", "vocab_size"}
    parts/<64 hex>.arrow  columns input_ids list<int32>, labelled list<bool>, row int64

A part is cached under the chunk that it was made from, wherever in a dataset that chunk stands: its column
`row` counts from the chunk's first row, which is the dataset's row `first_row`.
"""

from __future__ import annotations

import os
import shutil
from collections.abc import Iterable, Iterator
from itertools import islice
from pathlib import Path
from typing import Any, NamedTuple

import pyarrow as pa

from tunekit.data.arrays import array_of
from tunekit.data.encoder import Encoded
from tunekit.data.rowset import iter_table, map_table, read_index, write_index
from tunekit.hashing import hex_of

FORMAT = 1
SCHEMA = pa.schema([("input_ids", pa.list_(pa.int32())), ("labelled", pa.list_(pa.bool_())), ("row", pa.int64())])
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
        }
        for item in tokens.items
    ]
    write_index(path / "tokens.json", {"format": FORMAT, **tokens._asdict(), "items": items})


def write_part(file: Path, rows: Iterable[tuple[int, Encoded]]) -> None:
    """Rows, each with its number in the chunk, as an Arrow file; one batch of them in memory at a time."""
    left = iter(rows)
    with pa.OSFile(str(file), "wb") as sink, pa.ipc.new_file(sink, SCHEMA) as writer:
        while batch := list(islice(left, _BATCH)):
            columns = [
                array_of([e.input_ids for _, e in batch], SCHEMA.field(0).type),
                array_of([e.labelled for _, e in batch], SCHEMA.field(1).type),
                array_of([number for number, _ in batch], pa.int64()),
            ]
            writer.write_batch(pa.record_batch(columns, schema=SCHEMA))


def part_file(root: Path, digest: str) -> Path:
    return root / "parts" / f"{hex_of(digest)}.arrow"


def place_part(root: Path, digest: str, file: Path) -> None:
    """Put a part's file into the artifact: a hard link where the disk allows it, else a copy."""
    target = part_file(root, digest)
    if target.exists():
        return
    real = os.path.realpath(file)  # a view of the store holds links
    try:
        os.link(real, target)
    except OSError:
        shutil.copyfile(real, target)
