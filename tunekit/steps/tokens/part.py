"""A part of tokens: what one chunk of a dataset becomes under the settings of one item.

    tokens.arrow   rows that have a label (tunekit.data.tokenset)
    rows.arrow     of every row of the chunk: its digest, whether it is kept, its straddling tokens
    ledger.json    counts

`rows.arrow` is what lets the next execution copy rows: a row of the same content is not tokenized again.
"""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path
from typing import Any

import msgspec
import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from tunekit.data.arrays import fixed, flags, indices
from tunekit.data.chunk import DIGEST, Digests, Numbers, digests_of, visible
from tunekit.data.encoder import Encoder
from tunekit.data.rowset import iter_table, map_table, read_index, write_index
from tunekit.data.seen import Seen
from tunekit.data.tokenset import table_of, write_part
from tunekit.hashing import sha256_file
from tunekit.parts import Part

FORMAT = 2
NAMED_ROWS = 20
_ROWS = pa.schema([("digest", pa.binary(32)), ("kept", pa.bool_()), ("straddling", pa.int32())])


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


def load_ledger(file: Path) -> PartLedger:
    """The ledger of a finished part. Raises ActionError (`not-a-part`)."""
    body: dict[str, Any] = read_index(file, FORMAT, "part")
    body.pop("format")
    return msgspec.convert(body, PartLedger)


class Earlier:
    """The rows of the last execution, by their digests."""

    def __init__(self, parts: Iterable[Part]) -> None:
        self._tokens: list[Path] = []
        self._rows: list[pa.Table] = []
        for part in parts:
            self._rows.append(map_table(part.files["rows.arrow"]))
            self._tokens.append(part.files["tokens.arrow"])
        self._seen = Seen([digests_of(rows.column("digest")) for rows in self._rows])

    def find(self, digests: Digests) -> tuple[Numbers, Numbers]:
        """Of every row the part and the row there; part -1 where it was not seen."""
        return self._seen.find(digests)

    def facts(self, part: int, rows: Numbers) -> tuple[NDArray[np.bool_], Numbers]:
        """Of rows of a part whether each is kept, and its straddling tokens."""
        found = self._rows[part].take(indices(rows))
        kept = found.column("kept").to_numpy()
        return kept, found.column("straddling").to_numpy().astype(np.int64)

    def tokens(self, part: int, rows: Numbers) -> pa.Table:
        """The tokens of kept rows of a part."""
        nth = np.cumsum(self._rows[part].column("kept").to_numpy()) - 1
        return map_table(self._tokens[part]).take(indices(nth[rows]))


def make_part(
    directory: Path, chunk: pa.Table, encoder: Encoder, first_row: int, earlier: Earlier | None = None
) -> tuple[PartLedger, int]:
    """Tokenize a chunk into `directory`; also how many rows were copied. What a killed attempt left there is
    overwritten. Raises ActionError of the encoder, with rows counted from `first_row`."""
    directory.mkdir(parents=True, exist_ok=True)
    for file in directory.iterdir():
        file.unlink()  # it may be a link into an artifact, which must not change
    count = len(chunk)
    digests = digests_of(chunk.column(DIGEST))
    nowhere = (np.full(count, -1, np.int64), np.zeros(count, np.int64))
    part, row = earlier.find(digests) if earlier else nowhere
    kept, straddling = np.zeros(count, dtype=bool), np.zeros(count, np.int64)
    missed = np.flatnonzero(part < 0)
    wanted = visible(chunk if len(missed) == count else chunk.take(indices(missed)))
    encoded = list(encoder.encode(iter_table(wanted), (missed + first_row).tolist()))
    kept[missed] = [any(e.labelled) for e in encoded]
    straddling[missed] = [e.straddling for e in encoded]
    tables = [table_of([e for e, keep in zip(encoded, kept[missed].tolist(), strict=True) if keep])]
    places = [missed[kept[missed]]]
    for p in np.unique(part[part >= 0]).tolist():
        assert earlier is not None
        mine = np.flatnonzero(part == p)
        kept[mine], straddling[mine] = earlier.facts(p, row[mine])
        places.append(mine[kept[mine]])
        tables.append(earlier.tokens(p, row[places[-1]]))
    write_part(directory / "tokens.arrow", tables, np.concatenate(places))
    _write_rows(directory / "rows.arrow", digests, kept, straddling)
    ledger = _ledger(directory / "tokens.arrow", kept, straddling)
    write_index(directory / "ledger.json", {"format": FORMAT, **msgspec.to_builtins(ledger)})
    return ledger, count - len(missed)


def _write_rows(file: Path, digests: Digests, kept: NDArray[np.bool_], straddling: Numbers) -> None:
    columns = [fixed(digests, _ROWS.field(0).type), flags(kept), fixed(straddling.astype(np.int32), pa.int32())]
    with pa.OSFile(str(file), "wb") as sink, pa.ipc.new_file(sink, _ROWS) as writer:
        writer.write_batch(pa.record_batch(columns, schema=_ROWS))


def _ledger(tokens: Path, kept: NDArray[np.bool_], straddling: Numbers) -> PartLedger:
    table = map_table(tokens)
    unlabelled = np.flatnonzero(~kept)
    return PartLedger(
        digest=sha256_file(tokens),
        rows=int(kept.sum()),
        tokens=sum(len(c.values) for c in table.column("input_ids").chunks),
        labelled=sum(c.values.true_count for c in table.column("labelled").chunks),
        straddling=int(straddling.sum()),
        unlabelled=len(unlabelled),
        unlabelled_rows=unlabelled[:NAMED_ROWS].tolist(),
    )
