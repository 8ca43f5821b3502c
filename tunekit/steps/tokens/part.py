"""One part: the tokens of one chunk, and the ledger of what became of its rows."""

from __future__ import annotations

from collections.abc import Iterator
from itertools import count
from pathlib import Path
from typing import Any

import msgspec
import pyarrow as pa

from tunekit.data.encoder import Encoded, Encoder
from tunekit.data.rowset import iter_table, read_index, write_index
from tunekit.data.tokenset import write_part
from tunekit.hashing import sha256_file
from tunekit.steps.tokens.reasons import Reasons

FORMAT = 1
_NAMED_ROWS = 20


class PartLedger(msgspec.Struct):
    """Counts of one part; row numbers count from the chunk's first row. `rows`: rows that have a label and are
    kept; `straddling`: tokens across the edge of an assistant turn, not labelled."""

    digest: str = ""  # sha256 of tokens.arrow
    rows: int = 0
    tokens: int = 0
    labelled: int = 0
    straddling: int = 0
    unlabelled: int = 0
    unlabelled_rows: list[int] = []
    reasons: Reasons = msgspec.field(default_factory=Reasons)


def make_part(directory: Path, table: pa.Table, encoder: Encoder, first_row: int) -> PartLedger:
    """Tokenize a chunk into `directory`: `tokens.arrow` and `ledger.json`. What a killed attempt left there is
    overwritten."""
    directory.mkdir(parents=True, exist_ok=True)
    ledger = PartLedger()
    file = directory / "tokens.arrow"
    file.unlink(missing_ok=True)  # it may be a link into an artifact, which must not change
    write_part(file, _kept(encoder.encode(iter_table(table), count(first_row)), ledger))
    ledger.digest = sha256_file(file)
    index = directory / "ledger.json"
    index.unlink(missing_ok=True)
    write_index(index, {"format": FORMAT, **msgspec.to_builtins(ledger)})
    return ledger


def load_ledger(directory: Path) -> PartLedger:
    """The ledger of a finished part. Raises ActionError (`not-a-part`)."""
    body: dict[str, Any] = read_index(directory / "ledger.json", FORMAT, "part")
    body.pop("format")
    return msgspec.convert(body, PartLedger)


def _kept(rows: Iterator[Encoded], ledger: PartLedger) -> Iterator[tuple[int, Encoded]]:
    """Rows that have a label, numbered within the chunk; counts go into the ledger."""
    for number, row in enumerate(rows):
        labelled = sum(row.labelled)
        ledger.reasons.add(number, row)
        ledger.straddling += row.straddling
        if not labelled:
            ledger.unlabelled += 1
            if len(ledger.unlabelled_rows) < _NAMED_ROWS:
                ledger.unlabelled_rows.append(number)
            continue
        ledger.rows += 1
        ledger.tokens += len(row.input_ids)
        ledger.labelled += labelled
        yield number, row
