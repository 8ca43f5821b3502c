"""A part of tokens: what one chunk of a dataset becomes under the settings of one item.

    tokens.arrow   rows that have a label (tunekit.data.tokenset)
    rows.arrow     of every row of the chunk: its digest, and what was found of it (`ROWS`)
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

from tunekit.data.answers import WITH_VERDICTS
from tunekit.data.arrays import Numbers, array_of, fixed, indices, numpy_of, settled
from tunekit.data.chunk import DIGEST, Digests, digests_of, visible
from tunekit.data.encoder import Encoded, Encoder
from tunekit.data.gather import gathered
from tunekit.data.rowset import iter_table, map_table, read_index, write_index
from tunekit.data.seen import Seen
from tunekit.data.tokenset import only_tokens, table_of, write_part
from tunekit.hashing import sha256_file
from tunekit.parts import Part
from tunekit.steps.tokens.reasons import NAMED, Reasons, reasons_of

FORMAT = 2
ROWS = pa.schema(
    [
        ("kept", pa.bool_()),  # it has a label
        ("empty", pa.bool_()),
        ("turns", pa.int32()),
        ("ended", pa.int32()),
        ("straddling", pa.int32()),
        ("straddlers", pa.list_(pa.int32())),
        ("notes", pa.list_(pa.string())),
        ("digest", pa.binary(32)),
    ]
)
_FACTS = pa.schema(list(ROWS)[:-1])
_FORM = b"tunekit:form"  # of the rows, in the metadata of rows.arrow


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


def load_ledger(file: Path) -> PartLedger:
    """The ledger of a finished part. Raises ActionError (`not-a-part`)."""
    body: dict[str, Any] = read_index(file, FORMAT, "part")
    body.pop("format")
    return msgspec.convert(body, PartLedger)


class Earlier:
    """The rows of the last execution, by their digests. Settings may say `auto`: rows of another form are no use."""

    def __init__(self, parts: Iterable[Part], form: str) -> None:
        self._tokens: list[Path] = []
        self._rows: list[pa.Table] = []
        for part in parts:
            rows = map_table(part.files["rows.arrow"])
            if rows.schema.metadata == {_FORM: form.encode()}:
                self._rows.append(rows)
                self._tokens.append(part.files["tokens.arrow"])
        self._seen = Seen([digests_of(rows.column("digest")) for rows in self._rows])

    def find(self, digests: Digests) -> tuple[Numbers, Numbers]:
        """Of every row the part and the row there; part -1 where it was not seen."""
        return self._seen.find(digests)

    def facts(self, part: int) -> pa.Table:
        """What was found of the rows of a part."""
        return self._rows[part].select(_FACTS.names)

    def tokens(self, part: int) -> pa.Table:
        """The tokens of the kept rows of a part."""
        return only_tokens(map_table(self._tokens[part]))


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
    missed = np.flatnonzero(part < 0)
    wanted = visible(chunk if len(missed) == count else chunk.take(indices(missed)))
    encoded = list(encoder.encode(iter_table(wanted), (missed + first_row).tolist()))
    row[missed] = np.arange(len(missed))
    kept = [any(e.labelled) for e in encoded]
    facts = [_facts_of(encoded, kept)]
    tokens = [table_of([e for e, keep in zip(encoded, kept, strict=True) if keep], encoder.shape in WITH_VERDICTS)]
    which = np.zeros(count, np.int64)  # of `facts` and `tokens`, for every row
    for p in np.unique(part[part >= 0]).tolist():
        assert earlier is not None
        which[part == p] = len(facts)
        facts.append(earlier.facts(p))
        tokens.append(earlier.tokens(p))
    rows = gathered(facts, which, row).combine_chunks()  # a run of copied rows is a piece: some forty, small
    numbers = np.flatnonzero(numpy_of(rows.column("kept")))
    write_part(
        directory / "tokens.arrow", gathered(tokens, which[numbers], _nth_kept(facts, which, row)[numbers]), numbers
    )
    listed = rows.append_column(ROWS.field("digest"), fixed(digests, pa.binary(32)))
    _write_rows(directory / "rows.arrow", listed, encoder.shape)
    ledger = _ledger(directory / "tokens.arrow", rows)
    write_index(directory / "ledger.json", {"format": FORMAT, **msgspec.to_builtins(ledger)})
    return ledger, count - len(missed)


def _nth_kept(facts: list[pa.Table], which: Numbers, row: Numbers) -> Numbers:
    """Where the tokens of every row are among those of its table, if it was kept."""
    out = np.zeros(len(row), np.int64)
    for number, table in enumerate(facts):
        mine = which == number
        out[mine] = (np.cumsum(numpy_of(table.column("kept"))) - 1)[row[mine]]
    return out


def _facts_of(rows: list[Encoded], kept: list[bool]) -> pa.Table:
    columns: list[list[Any]] = [
        kept,
        [not e.input_ids for e in rows],
        [e.turns for e in rows],
        [e.ended for e in rows],
        [e.straddling for e in rows],
        [e.straddlers[:NAMED] for e in rows],
        [e.notes for e in rows],
    ]
    return pa.table([array_of(c, f.type) for c, f in zip(columns, _FACTS, strict=True)], schema=_FACTS)


def _write_rows(file: Path, rows: pa.Table, form: str) -> None:
    columns = [settled(column.combine_chunks()) for column in rows.columns]
    schema = ROWS.with_metadata({_FORM: form})
    with pa.OSFile(str(file), "wb") as sink, pa.ipc.new_file(sink, schema) as writer:
        writer.write_batch(pa.record_batch(columns, schema=schema))


def _ledger(tokens: Path, rows: pa.Table) -> PartLedger:
    table = map_table(tokens)
    kept = numpy_of(rows.column("kept"))
    unlabelled = np.flatnonzero(~kept)
    return PartLedger(
        digest=sha256_file(tokens),
        rows=int(kept.sum()),
        tokens=sum(len(c.values) for c in table.column("input_ids").chunks),
        labelled=sum(c.values.true_count for c in table.column("labelled").chunks),
        straddling=int(numpy_of(rows.column("straddling")).sum()),
        unlabelled=len(unlabelled),
        unlabelled_rows=unlabelled[:NAMED].tolist(),
        reasons=reasons_of(rows),
    )
