"""A dataset that a run tokenizes while it trains: its first rows, as they will be read then. Nothing is kept of it."""

from __future__ import annotations

import itertools
from collections.abc import Iterator
from typing import Any, NamedTuple

import msgspec
import numpy as np

from tunekit.data.columns import Row
from tunekit.data.rowset import open_dataset
from tunekit.data.vocabulary import open_vocabulary
from tunekit.engine.corpus import Shard, chunk_shards, file_shards
from tunekit.errors import ActionError
from tunekit.forms import refusal
from tunekit.lens.fields import leaves
from tunekit.lens.pieces import MASKED, STRADDLING, TRAINED, Decoder
from tunekit.lens.reader import Seen
from tunekit.lens.rows import evenly
from tunekit.lens.spread import Spread
from tunekit.protocol import Input
from tunekit.question import FIRST_BYTES, FIRST_ROWS, Question, Subject
from tunekit.steps.tokens.masking import encoder_of
from tunekit.steps.tokens.spec import TokenItem


class Sample(NamedTuple):
    """The first rows of a dataset. `whole`: it has no others."""

    form: str
    rows: list[Row]
    whole: bool


class StreamReader:
    """What rows of a stream become. Raises ActionError of the openers, and `wrong-shape` for rows without labels."""

    def __init__(self, subject: Subject, form: str) -> None:
        refused = refusal("loss", subject.label, form)
        if refused:
            raise ActionError(refused.message, slug=refused.slug, hint=refused.hint)
        vocabulary = open_vocabulary(subject.tokenizer)
        self._encoder = encoder_of(vocabulary, msgspec.convert({**subject.settings, "format": form}, TokenItem))
        self.decoder = Decoder(vocabulary.tokenizer)
        self.template = self._encoder.template.text if form == "chat" and self._encoder.template else ""

    def seen(self, number: int, row: Row) -> Seen:
        """A row that the encoder refuses has no tokens, and says why: in the run it is an error."""
        try:
            (made,) = self._encoder.encode([row], [number])
        except ActionError as e:
            return Seen([], [], f"the run would stop here: {e.message}")
        flags = [TRAINED if on else MASKED for on in made.labelled]
        for place in made.straddlers:
            flags[place] = STRADDLING
        return Seen(made.input_ids, flags, "" if any(made.labelled) else "no token of it is trained", list(made.notes))


def first_rows(subject: Subject) -> Sample:
    """At most FIRST_ROWS of FIRST_BYTES in all (but one, however long), by the names of files, each from its first
    row; what is behind them is not read. Raises ActionError of readers and formats."""
    shards, form = _shards(subject)
    rows: list[Row] = []
    left = FIRST_BYTES
    for row in itertools.chain.from_iterable(_rows(shard) for shard in shards):
        if rows and (len(rows) == FIRST_ROWS or left <= 0):
            return Sample(form, rows, False)
        left -= len(msgspec.json.encode(row, enc_hook=str))
        rows.append(row)
    return Sample(form, rows, True)


def _rows(shard: Shard) -> Iterator[Row]:
    return (row for _, row in shard.rows(0))


def _shards(subject: Subject) -> tuple[list[Shard], str]:
    if subject.reading:
        source = Input("", "", "files", subject.label, reading=subject.reading)
        return file_shards(source, lambda slug, message: None)
    dataset = open_dataset(subject.dataset)
    return chunk_shards(subject.label, dataset), dataset.shape


def numbers_of(question: Question, subject: Subject, sample: Sample) -> list[int]:
    """Which rows to show. Raises ActionError (`no-such-row`, `beyond-sample`)."""
    if question.grep:
        return [n for n, row in enumerate(sample.rows) if _has(row, question.grep, question.ignore_case)]
    count = len(sample.rows)
    for number in question.rows:
        if number < 0 or (number >= count and sample.whole):
            hint = f"its rows are 0 to {count - 1}"
            raise ActionError(f"{subject.label} has no row {number}", slug="no-such-row", hint=hint)
        if number >= count:
            message = f"of {subject.label}, which is streamed, rows 0 to {count - 1} are looked at, not row {number}"
            hint = f"tunekit build {subject.label}, then tunekit inspect {subject.label} --row {number} shows the row"
            raise ActionError(message, slug="beyond-sample", hint=hint)
    return sorted(set(question.rows)) or evenly(count, question.limit).tolist()


def _has(row: Row, text: str, ignore_case: bool) -> bool:
    values = (value for value in leaves(row).values() if isinstance(value, str))
    return any(text.lower() in value.lower() if ignore_case else text in value for value in values)


def statistics(reader: StreamReader, rows: list[Row], longest: int) -> dict[str, Any]:
    """Of the tokens of these rows; the same figures as of tokens that are kept (tunekit.lens.tokens)."""
    seen = [reader.seen(number, row) for number, row in enumerate(rows)]
    lengths = np.array([len(one.ids) for one in seen])
    trained = np.array([one.flags.count(TRAINED) for one in seen])
    spreads = {"length": Spread(), "trained": Spread(), "share": Spread()}
    for name, values in (("length", lengths), ("trained", trained), ("share", trained / np.maximum(lengths, 1))):
        spreads[name].add(values)
    return {
        "rows": len(rows),
        "looked": len(rows),
        "tokens": int(lengths.sum()),
        "labelled": int(trained.sum()),
        "over": int((lengths > longest).sum()) if longest else 0,
        "longest_row": int(lengths.argmax()),
        "spreads": {name: spread.summary() for name, spread in spreads.items()},
    }
