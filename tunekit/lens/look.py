"""One dataset looked at: statistics, the ledger of its tokens, the template, rows."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from itertools import islice
from typing import Any

import numpy as np

from tunekit.data.columns import Row
from tunekit.data.rowset import Dataset, open_dataset
from tunekit.lens import streamed
from tunekit.lens.columns import Columns
from tunekit.lens.fields import CHARACTERS, Cutter
from tunekit.lens.pieces import TRAINED, Decoder, window
from tunekit.lens.reader import Reader, Seen
from tunekit.lens.rows import Places, asked, evenly, rows_of, slabs
from tunekit.lens.search import search
from tunekit.lens.spread import Spread
from tunekit.lens.tokens import Stored, statistics
from tunekit.lens.tokens import rows as token_rows
from tunekit.question import Question, Subject

LOOKED = 10_000  # rows that statistics are made of
TOKENS = 1000  # of a row that is shown
_AT_ONCE = 16  # rows whose tokens are held together

Answer = dict[str, Any]


def look(question: Question, subject: Subject) -> Iterator[Answer]:
    """The answers to a question of one subject, in the order in which they are shown. Raises ActionError."""
    if subject.streamed:
        yield from _streamed(question, subject)
        return
    dataset = open_dataset(subject.dataset)
    wanted = asked(dataset, subject.label, question.rows)
    yield {
        "type": "subject",
        "label": subject.label,
        "form": dataset.shape,
        "rows": dataset.rows,
        "chunks": len(dataset.chunk_list),
        "bytes": sum(chunk.bytes for chunk in dataset.chunk_list),
    }
    reader = Reader(subject, dataset) if subject.tokenizer else None
    if question.rows:
        yield from _samples(question, reader, rows_of(dataset, wanted))
        return
    if question.grep:
        yield from _searched(question, subject, dataset, reader)
        return
    numbers = evenly(dataset.rows, None if question.every else LOOKED)
    yield from _statistics(dataset, reader, numbers, subject.longest)
    yield from _samples(question, reader, rows_of(dataset, evenly(dataset.rows, question.limit)))


def _streamed(question: Question, subject: Subject) -> Iterator[Answer]:
    """The first rows of what a run tokenizes as it goes."""
    sample = streamed.first_rows(subject)
    numbers = streamed.numbers_of(question, subject, sample)
    reader = streamed.StreamReader(subject, sample.form)
    count = len(sample.rows)
    yield {"type": "subject", "label": subject.label, "form": sample.form, "rows": count, "whole": sample.whole}
    if not question.rows and not question.grep:
        yield {"type": "tokens", **streamed.statistics(reader, sample.rows, subject.longest)}
        if reader.template:
            yield {"type": "template", "text": reader.template}
    shown = numbers[: question.limit] if question.grep else numbers
    for number in shown:
        cutter = Cutter(None if question.full else CHARACTERS, question.grep)
        row = sample.rows[number]
        answer = {"type": "sample", "row": number, "fields": cutter.plain(row)}
        answer |= _tokens(question, cutter, reader.decoder, reader.seen(number, row))
        yield answer | {"cut": cutter.cut}
    if question.grep:
        yield {"type": "searched", "rows": count, "found": len(shown), "stopped": len(shown) < len(numbers)}


def _statistics(dataset: Dataset, reader: Reader | None, numbers: Places, longest: int) -> Iterator[Answer]:
    columns = Columns()
    prompts, over = Spread(), 0
    for slab in slabs(dataset, numbers):
        columns.add(slab.table)
        if reader is not None and reader.prompts:
            rows = zip(slab.numbers.tolist(), slab.table.to_pylist(), strict=True)
            lengths = np.array([len(reader.seen(number, row, None).ids) for number, row in rows])
            prompts.add(lengths)
            over += int((lengths > longest).sum()) if longest else 0
    yield {"type": "columns", "looked": len(numbers), "columns": columns.to_json()}
    if reader is None:
        return
    if reader.tokens is not None:
        tokens = reader.tokens
        yield {
            "type": "tokens",
            "rows": tokens.row_count,
            "tokens": tokens.tokens,
            "labelled": tokens.labelled,
            **statistics(tokens, numbers, longest),
        }
        yield {"type": "ledger", "of": "tokens", "counts": tokens.ledger}
    elif reader.prompts:
        spreads = {"length": prompts.summary()}
        yield {"type": "prompts", "looked": len(numbers), "over": over, "spreads": spreads}
    if reader.template:
        yield {"type": "template", "text": reader.template}


def _samples(question: Question, reader: Reader | None, rows: Iterable[tuple[int, Row]]) -> Iterator[Answer]:
    """Rows as they are, and as they are read."""
    left = iter(rows)
    while some := list(islice(left, _AT_ONCE)):
        stored: dict[int, Stored] = {}
        if reader is not None and reader.tokens is not None:
            stored = token_rows(reader.tokens, np.array([number for number, _ in some], np.int64))
        for number, row in some:
            yield _sample(question, reader, number, row, stored.get(number))


def _sample(question: Question, reader: Reader | None, number: int, row: Row, stored: Stored | None) -> Answer:
    cutter = Cutter(None if question.full else CHARACTERS, question.grep)
    answer = {"type": "sample", "row": number, "fields": cutter.plain(row)}
    if reader is not None and (reader.tokens is not None or reader.prompts):
        answer |= _tokens(question, cutter, reader.decoder, reader.seen(number, row, stored))
    return answer | {"cut": cutter.cut}


def _tokens(question: Question, cutter: Cutter, decoder: Decoder, seen: Seen) -> Answer:
    """What a sample says of its tokens."""
    pieces = decoder.pieces(seen.ids, seen.flags)
    shown, before, behind = window(pieces, len(seen.ids) if question.full else TOKENS, question.grep)
    cutter.cut = cutter.cut or bool(before or behind)
    return {
        "pieces": shown,
        "tokens": len(seen.ids),
        "trained": seen.flags.count(TRAINED),
        "skipped": [before, behind],
        "left_out": seen.left_out,
        "notes": seen.notes,
    }


def _searched(question: Question, subject: Subject, dataset: Dataset, reader: Reader | None) -> Iterator[Answer]:
    """Rows as they are found: nothing is read beyond the batch that has the last one that is shown."""
    found = rows = 0
    more = False
    for first, batch, numbers in search(dataset, subject.label, question.grep, question.ignore_case):
        left = question.limit - found
        yield from _samples(question, reader, ((first + n, batch.slice(n, 1).to_pylist()[0]) for n in numbers[:left]))
        found += min(len(numbers), left)
        rows = first + len(batch)
        more = len(numbers) > left or rows < dataset.rows
        if found == question.limit:
            break
    yield {"type": "searched", "rows": rows, "found": found, "stopped": found == question.limit and more}
