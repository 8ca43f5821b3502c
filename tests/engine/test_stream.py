"""A stream is a function of seed and place: each document once an epoch, and any place can be gone on from."""

from __future__ import annotations

import sys
import threading
import tracemalloc
from collections import Counter
from collections.abc import Iterator
from itertools import islice
from pathlib import Path
from typing import Any

import msgspec
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

sys.path.insert(0, str(Path(__file__).parent))  # for tiny_stack, which imports torch when used

from tunekit.data.encoder import Encoded, Encoder
from tunekit.data.rowset import open_dataset, write_dataset
from tunekit.data.vocabulary import open_vocabulary
from tunekit.engine.corpus import Corpus, Place, Shard, chunk_shards
from tunekit.engine.stream import Buffer, Mark, Stream, one_ahead
from tunekit.errors import ActionError

SEQUENCE = 16


class Plain(Encoder):
    """Tokens as they are: what is tested here is where documents come from and go to."""

    def __init__(self) -> None:
        self.asked = 0

    def encode(self, rows: Any, numbers: Any = None) -> Iterator[Encoded]:
        for row, _ in zip(rows, numbers, strict=False):
            self.asked += 1
            yield Encoded(row["ids"], row.get("labelled", [True] * len(row["ids"])))


def corpus(
    lengths: list[list[int]], number: int = 0, first: int = 0, seed: int = 3, encoder: Encoder | None = None
) -> Corpus:
    """Shards of documents of these lengths; every token of a document is its number, so that it can be told."""
    shards, at = [], first
    for n, some in enumerate(lengths):
        rows = [{"ids": [at + i] * length} for i, length in enumerate(some)]
        at += len(some)
        shards.append(Shard(f"s{n}", lambda start, rows=rows: enumerate(rows[start:], start)))
    return Corpus(f"c{number}", shards, encoder or Plain(), seed, number)


def stream(corpora: list[Corpus], weights: list[float] | None = None, **change: Any) -> Stream:
    settings: dict[str, Any] = {
        "sequence_len": SEQUENCE, "overlong": "split", "buffer_tokens": 50, "packing": True, "seed": 3,
        "pad_token_id": 0,
    }  # fmt: skip
    return Stream(corpora, weights or [1.0] * len(corpora), **settings | change)


def sequences(buffer: Buffer) -> list[list[list[int]]]:
    """Of a buffer: sequences, their pieces, their tokens."""
    pieces = [buffer.tokens.sequence(*span)[0].tolist() for span in buffer.spans.tolist()]
    return [[pieces[i] for i in some] for some in buffer.sequences]


LENGTHS = st.lists(st.lists(st.integers(2, 40), min_size=1, max_size=6), min_size=1, max_size=5)


@settings(max_examples=60, deadline=None)
@given(LENGTHS, st.integers(0, 5), st.integers(1, 120), st.booleans())
def test_any_buffer_is_remade_from_its_mark(
    lengths: list[list[int]], seed: int, buffer_tokens: int, packing: bool
) -> None:
    """From the mark alone, through JSON, and by a stream that saw nothing of what came before."""

    def made() -> Stream:
        first = corpus(lengths, seed=seed)
        other = corpus([[5, 7, 3]], 1, first=1000, seed=seed)
        return stream([first, other], [1.0, 0.3], buffer_tokens=buffer_tokens, packing=packing, seed=seed)

    straight = list(islice(made().buffers(made().beginning), 5))
    for place in range(5):
        mark = msgspec.convert(msgspec.json.decode(msgspec.json.encode(straight[place].start)), Mark)
        for again, before in zip(made().buffers(mark), straight[place:], strict=False):
            assert sequences(again) == sequences(before)
            assert (again.start, again.end) == (before.start, before.end)


@settings(max_examples=60, deadline=None)
@given(LENGTHS, st.integers(0, 5))
def test_an_epoch_has_every_document_once(lengths: list[list[int]], seed: int) -> None:
    """And every label of it once, whatever the pieces."""
    one = corpus(lengths, seed=seed)
    count, tokens = sum(map(len, lengths)), sum(map(sum, lengths))
    read = [document.input_ids[0] for _, document in islice(one.documents(Place()), 2 * count)]
    assert sorted(read[:count]) == sorted(read[count:]) == list(range(count))
    for buffer in islice(stream([one], buffer_tokens=tokens, seed=seed).buffers(Mark(0, 0, [Place()], [zero()])), 2):
        labels: Counter[int] = Counter()
        for some in sequences(buffer):
            assert sum(map(len, some)) <= SEQUENCE
            for piece in some:
                labels[piece[0]] += len(piece) - 1
        flat = [length for some in lengths for length in some]
        assert labels == {document: length - 1 for document, length in enumerate(flat)}
        assert buffer.end.counts[0]["labelled_tokens"] == (buffer.end.buffer) * (tokens - count)


def zero() -> dict[str, int]:
    return dict(stream([corpus([[2]])]).beginning.counts[0])


def test_epochs_and_seeds_have_other_orders() -> None:
    lengths = [[3] * 4] * 6

    def read(seed: int, number: int = 0) -> list[int]:
        found = corpus(lengths, number, seed=seed).documents(Place())
        return [document.input_ids[0] for _, document in islice(found, 48)]

    one = read(1)
    assert one == read(1) and one[:24] != one[24:] and one != read(2) and one != read(1, 1)
    assert [n % 4 for n in one] == [0, 1, 2, 3] * 12, "a shard is read from its first row to its last"


def test_a_mix_follows_the_weights_in_tokens() -> None:
    found = stream([corpus([[9] * 50]), corpus([[2] * 50], 1, 100)], [1.0, 0.25], buffer_tokens=1000)
    end = next(found.buffers(found.beginning)).end
    one, other = (c["tokens_read"] for c in end.counts)
    assert one + other >= 1000 and other / one == pytest.approx(0.25, abs=0.02)
    assert end.counts[0]["rows"] > 80 and end.places[0].epoch == 1, "each dataset begins again by itself"


def test_nothing_before_the_mark_is_tokenized_again() -> None:
    one = corpus([[10] * 30] * 10)
    begun = stream([one], buffer_tokens=100)
    mark = list(islice(begun.buffers(begun.beginning), 20))[-1].end
    assert mark.counts[0]["rows"] == 200
    encoder = Plain()
    later = corpus([[10] * 30] * 10, encoder=encoder)
    next(stream([later], buffer_tokens=100).buffers(mark))
    assert encoder.asked == 10


@pytest.mark.parametrize("policy", ["split", "truncate", "drop"])
def test_length_policy(policy: Any) -> None:
    found = stream([corpus([[40, 3, 16]])], overlong=policy, buffer_tokens=59)
    buffer = next(found.buffers(found.beginning))
    counts = buffer.end.counts[0]
    pieces = sorted(len(piece) for some in sequences(buffer) for piece in some)
    assert pieces == {"split": [3, 10, 16, 16, 16], "truncate": [3, 16, 16], "drop": [3, 16]}[policy]
    name = {"split": "split", "truncate": "truncated", "drop": "dropped"}[policy]
    assert counts[name] == 1 and counts["rows"] == 3 and counts["tokens"] == sum(pieces)


def test_an_unknown_length_is_an_error_where_that_is_asked_for() -> None:
    found = stream([corpus([[3, 40]])], overlong="error")
    with pytest.raises(ActionError, match="c0 has a document of 40 tokens") as error:
        next(found.buffers(found.beginning))
    assert error.value.slug == "row-too-long"


@pytest.mark.parametrize(("lengths", "policy", "slug"), [([[], []], "split", "no-rows"), ([[40]], "drop", "no-labels"),
                                                         ([[1], [0]], "split", "no-labels")])  # fmt: skip
def test_a_dataset_with_nothing_in_it_ends_the_run(lengths: list[list[int]], policy: Any, slug: str) -> None:
    found = stream([corpus(lengths)], overlong=policy)
    with pytest.raises(ActionError) as error:
        list(islice(found.buffers(found.beginning), 100))
    assert error.value.slug == slug and "c0" in error.value.message


def test_chunks_of_a_dataset(tmp_path: Path) -> None:
    """The iterator of a dataset is the order of its rows; from a row on, the chunks before are not mapped."""
    write_dataset(tmp_path / "d", ({"text": f"text {i}"} for i in range(50)), "completion", chunk_rows=20)
    shards = chunk_shards("dataset:d", open_dataset(tmp_path / "d"))
    rows = [row["text"] for shard in shards for _, row in shard.rows(0)]
    assert rows == [f"text {i}" for i in range(50)] and len(shards) == 3
    assert [(n, row["text"]) for n, row in shards[1].rows(18)] == [(18, "text 38"), (19, "text 39")]
    (tmp_path / "d" / "chunks" / f"{open_dataset(tmp_path / 'd').chunk_list[0].digest[7:]}.arrow").unlink()
    assert len(list(shards[2].rows(0))) == 10


@pytest.mark.torch
def test_real_tokens_end_with_eos(tmp_path: Path) -> None:
    import tiny_stack as tiny

    vocabulary = open_vocabulary(tiny.write_tokenizer(tmp_path / "t"))
    rows = [{"text": "one"}, {"text": "another one"}]
    found = stream([Corpus("c", [Shard("s", lambda start: enumerate(rows[start:], start))],
                           Encoder(vocabulary, "completion"), 0)])  # fmt: skip
    buffer = next(found.buffers(found.beginning))
    ids, labels = buffer.tokens.sequence(0, 0, 4)
    assert ids[-1] == vocabulary.eos_id == labels[-1] and np.array_equal(ids, labels)


def test_faults_name_file_and_row() -> None:
    class Strict(Plain):
        def encode(self, rows: Any, numbers: Any = None) -> Iterator[Encoded]:
            for row, number in zip(rows, numbers, strict=False):
                if len(row["ids"]) == 7:
                    raise ActionError(f"row {number}: no", slug="x")
                yield Encoded(row["ids"], [True] * len(row["ids"]))

    shard = Shard("part-1.jsonl", lambda start: iter([(0, {"ids": [1]}), (1, {"ids": [1] * 7})]))
    with pytest.raises(ActionError, match=r"row 1 of part-1\.jsonl: no"):
        list(Corpus("c", [shard], Strict(), 0).documents(Place()))


def test_one_buffer_is_made_ahead_and_no_more() -> None:
    """Faults come in their turn, and are not lost."""
    found = stream([corpus([[10] * 30] * 3)], buffer_tokens=100)
    straight = [sequences(b) for b in islice(found.buffers(found.beginning), 6)]
    assert [sequences(b) for b in islice(one_ahead(found.buffers(found.beginning)), 6)] == straight

    made = threading.Semaphore(0)
    asked: list[int] = []

    def buffers() -> Iterator[Any]:
        for n in range(3):
            asked.append(n)
            made.release()
            yield n
        raise ActionError("torn", slug="bad-file")

    ahead = one_ahead(buffers())
    assert next(ahead) == 0
    for _ in range(2):
        assert made.acquire(timeout=10)
    assert asked == [0, 1]
    assert [next(ahead), next(ahead)] == [1, 2]
    with pytest.raises(ActionError, match="torn"):
        next(ahead)


def test_memory_is_that_of_a_buffer_not_of_the_corpus() -> None:
    def peak(shards: int) -> int:
        def rows(start: int) -> Iterator[tuple[int, dict[str, Any]]]:
            return ((n, {"ids": [n] * 200}) for n in range(start, 100))

        found = Corpus("c", [Shard(str(n), rows) for n in range(shards)], Plain(), 0)
        buffers = stream([found], buffer_tokens=20_000).buffers(stream([found]).beginning)
        tracemalloc.start()
        for buffer in buffers:
            if buffer.end.places[0].epoch:
                break
        top = tracemalloc.get_traced_memory()[1]
        tracemalloc.stop()
        return top

    assert peak(60) < 1.2 * peak(6)
