"""Sequences of an endless mix of datasets, tokenized when they are needed.

Documents are gathered until they have enough tokens, cut to length, and then packed or shuffled together: a *buffer*.
Each is a function of where it began, so a run is continued from a few numbers, its `Mark`.
"""

from __future__ import annotations

from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import Any, NamedTuple

import numpy as np

from tunekit.data.encoder import Encoded
from tunekit.engine.corpus import Corpus, Place
from tunekit.engine.packing import Packing
from tunekit.engine.rows import Overlong, cut
from tunekit.engine.shuffle import permutation
from tunekit.errors import ActionError

# Of one dataset: documents and tokens read; documents split, truncated or dropped for their length; sequences left
# out since they have no label; what is left: sequences (pieces of documents), their tokens, and labels among these.
COUNTS = (
    "rows", "tokens_read", "split", "truncated", "dropped", "unlabelled", "sequences", "tokens", "labelled_tokens",
)  # fmt: skip
_OF_POLICY = {"split": "split", "truncate": "truncated", "drop": "dropped"}


class Mark(NamedTuple):
    """Where a buffer begins: its number, the sequences before it, and of each dataset the place and the counts."""

    buffer: int
    sequences: int
    places: list[Place]
    counts: list[dict[str, int]]


class Gathered:
    """Documents in memory, one after the other; read like a token artifact."""

    def __init__(self, documents: list[tuple[np.ndarray, np.ndarray]], pad_token_id: int) -> None:
        self.pad_token_id = pad_token_id
        self._ids = np.concatenate([ids for ids, _ in documents]) if documents else np.zeros(0, np.int32)
        self._labelled = np.concatenate([flags for _, flags in documents]) if documents else np.zeros(0, bool)

    def sequence(self, chunk: int, start: int, stop: int) -> tuple[np.ndarray, np.ndarray]:
        """(input_ids, labels) of flat positions start:stop, int64; a token without a label is -100."""
        ids = self._ids[start:stop].astype(np.int64)
        return ids, np.where(self._labelled[start:stop], ids, np.int64(-100))

    def labels_in(self, spans: np.ndarray) -> np.ndarray:
        """Labels that can be predicted in each span: its first token has nothing before it."""
        before = np.concatenate([[0], np.cumsum(self._labelled, dtype=np.int64)])
        first, last = spans[:, 1], spans[:, 2]
        return np.where(last > first, before[last] - before[np.minimum(first + 1, last)], 0)


class Buffer(NamedTuple):
    """`spans`: the pieces as (dataset, start, stop) in `tokens`; `sequences`: the numbers of the pieces in each, in
    the order in which they are trained on. `turns` of which `ended` with a token that generation stops at."""

    start: Mark
    end: Mark
    tokens: Gathered
    spans: np.ndarray
    sequences: list[np.ndarray]
    turns: list[int]
    ended: list[int]


class Stream:
    """Datasets by weight: the next document is of the one whose tokens so far are furthest behind its share."""

    def __init__(
        self,
        corpora: list[Corpus],
        weights: list[float],
        *,
        sequence_len: int,
        overlong: Overlong,
        buffer_tokens: int,
        packing: bool,
        seed: int,
        pad_token_id: int,
    ) -> None:
        self.corpora = corpora
        self.buffer_tokens = buffer_tokens
        self._weights = weights
        self._sequence_len = sequence_len
        self._overlong = overlong
        self._packing = packing
        self._seed = seed
        self._pad_token_id = pad_token_id

    @property
    def beginning(self) -> Mark:
        each = range(len(self.corpora))
        return Mark(0, 0, [Place() for _ in each], [dict.fromkeys(COUNTS, 0) for _ in each])

    def buffers(self, start: Mark, tokens: int | None = None) -> Iterator[Buffer]:
        """The buffers from one on (of `tokens` instead of `buffer_tokens` each). Endless.

        Raises ActionError: `no-labels` for a dataset of which nothing is left in a whole epoch, and what reading does.
        """
        read = [c.documents(p) for c, p in zip(self.corpora, start.places, strict=True)]
        alive = [place.epoch for place in start.places]  # the epoch in which something of the dataset was left
        while True:
            buffer = self._buffer(start, read, tokens or self.buffer_tokens)
            start = buffer.end
            for i, place in enumerate(start.places):
                if (buffer.spans[:, 0] == i).any():
                    alive[i] = place.epoch
                elif place.epoch - alive[i] > 1:
                    raise _nothing_left(self.corpora[i].name, start.counts[i])
            yield buffer

    def _buffer(self, start: Mark, read: list[Iterator[tuple[Place, Encoded]]], tokens: int) -> Buffer:
        each = range(len(read))
        places, counts = list(start.places), [dict(found) for found in start.counts]
        documents: list[tuple[np.ndarray, np.ndarray]] = []
        owner: list[int] = []
        turns, ended = [0 for _ in each], [0 for _ in each]
        gathered = 0
        while gathered < tokens:
            i = min(each, key=lambda i: counts[i]["tokens_read"] / self._weights[i])
            places[i], document = next(read[i])
            documents.append((np.array(document.input_ids, np.int32), np.array(document.labelled, bool)))
            owner.append(i)
            size = len(document.input_ids)
            counts[i]["rows"] += 1
            counts[i]["tokens_read"] += max(1, size)  # a dataset of empty rows must not be asked for ever
            gathered += max(1, size)
            turns[i] += document.turns
            ended[i] += document.ended
        held, spans = self._cut(documents, np.array(owner), counts)
        sequences = self._sequences(spans, start.buffer)
        end = Mark(start.buffer + 1, start.sequences + len(sequences), places, counts)
        return Buffer(start, end, held, spans, sequences, turns, ended)

    def _cut(
        self, documents: list[tuple[np.ndarray, np.ndarray]], owner: np.ndarray, counts: list[dict[str, int]]
    ) -> tuple[Gathered, np.ndarray]:
        """The pieces that have a label, as the run's length policy leaves them; counted."""
        lengths = np.array([len(ids) for ids, _ in documents], np.int64)
        long = lengths > self._sequence_len
        if self._overlong == "error" and long.any():
            name = self.corpora[owner[long][0]].name
            raise ActionError(
                f"{name} has a document of {lengths[long][0]} tokens, more than sequence_len {self._sequence_len}",
                slug="row-too-long",
                hint='overlong = "split"',
            )
        held = Gathered(documents, self._pad_token_id)
        stops = np.cumsum(lengths)
        spans = cut(owner, stops - lengths, stops, self._sequence_len, self._overlong)
        labels = held.labels_in(spans)
        kept = labels > 0
        for i, found in enumerate(counts):
            mine = spans[:, 0] == i
            if self._overlong != "error":
                found[_OF_POLICY[self._overlong]] += int((long & (owner == i)).sum())
            found["unlabelled"] += int((mine & ~kept).sum())
            found["sequences"] += int((mine & kept).sum())
            found["tokens"] += int((spans[mine & kept, 2] - spans[mine & kept, 1]).sum())
            found["labelled_tokens"] += int(labels[mine].sum())
        return held, spans[kept]

    def _sequences(self, spans: np.ndarray, buffer: int) -> list[np.ndarray]:
        if self._packing:
            return list(Packing(spans[:, 2] - spans[:, 1], self._sequence_len).epoch(self._seed, buffer))
        return list(permutation(len(spans), self._seed, buffer, "stream/documents")[:, None])


def one_ahead(buffers: Iterator[Buffer]) -> Iterator[Buffer]:
    """The same buffers, the next of which a thread makes while this one is in use: a device need not wait for it.

    What goes wrong in it is raised when its turn comes.
    """
    reader = ThreadPoolExecutor(1, "stream")
    try:
        made = reader.submit(next, buffers)
        while True:
            buffer = made.result()
            made = reader.submit(next, buffers)
            yield buffer
    finally:
        reader.shutdown(wait=False, cancel_futures=True)


def _nothing_left(name: str, counts: dict[str, Any]) -> ActionError:
    return ActionError(
        f"{name} has no token to learn in a whole epoch: {counts}",
        slug="no-labels",
        hint='train_on = "all" labels every token; look at the counts for what was dropped',
    )
