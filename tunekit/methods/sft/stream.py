"""A run that tokenizes while it trains: its stream as the endless dataset that Transformers takes, and where a
checkpoint stands in it."""

from __future__ import annotations

import json
from collections import deque
from collections.abc import Iterator
from pathlib import Path
from typing import Any, NamedTuple

import msgspec
import torch
from torch.utils.data import DataLoader, IterableDataset
from transformers import TrainerCallback, TrainerControl, TrainerState, TrainingArguments

from tunekit.data.rowset import open_dataset
from tunekit.data.vocabulary import Vocabulary, open_vocabulary
from tunekit.engine.arguments import Batch
from tunekit.engine.corpus import Corpus, chunk_shards, file_shards
from tunekit.engine.resume import write_durably
from tunekit.engine.stream import Mark, Stream, one_ahead
from tunekit.errors import ActionError
from tunekit.forms import refusal
from tunekit.methods.sft.batches import Collator, layout_of
from tunekit.methods.sft.dataset import Documents, sample_of
from tunekit.methods.sft.spec import Sft
from tunekit.methods.spec import DataItem, items_of
from tunekit.protocol import Events, Input, Request
from tunekit.steps.tokens.masking import encoder_of
from tunekit.steps.tokens.spec import TokenItem

_FILE = "stream.json"


class Position(NamedTuple):
    """A place in the stream: how many sequences of which buffer are behind it."""

    start: Mark
    end: Mark
    taken: int


class Sequences(IterableDataset[dict[str, Any]]):
    """The sequences of a stream, without an end. What is read ahead of the training does not count: a position is
    asked for by the number of sequences that were trained on."""

    def __init__(self, stream: Stream) -> None:
        self.stream = stream
        self._from = Position(stream.beginning, stream.beginning, 0)
        self._marks: deque[tuple[Mark, Mark]] = deque()  # (start, end) of the buffers that may be in use

    def __iter__(self) -> Iterator[dict[str, Any]]:
        taken = self._from.taken
        self._marks.clear()
        for buffer in one_ahead(self.stream.buffers(self._from.start)):
            self._marks.append((buffer.start, buffer.end))
            documents = Documents(buffer.tokens, buffer.spans)
            for numbers in buffer.sequences[taken:]:
                yield documents[numbers]
            taken = 0

    def position(self, sequences: int) -> Position:
        """After so many sequences, which only grow from call to call."""
        while self._marks and self._marks[0][1].sequences < sequences:
            self._marks.popleft()
        if not self._marks:
            return self._from
        start, end = self._marks[0]
        # At the edge, whether or not the next buffer was begun: nothing has to be tokenized again.
        return Position(start, end, sequences - start.sequences) if sequences < end.sequences else Position(end, end, 0)

    def go_to(self, position: Position) -> None:
        """Where the next iteration begins."""
        self._from = position
        self._marks.clear()


class StreamFeed(NamedTuple):
    """What a trainer reads, as `batches.Feed`."""

    documents: Documents  # a few from the beginning: what TRL looks at, and what the check of packed rows is made on
    collate: Collator
    sequences: Sequences
    labels: list[str]
    batch_size: int

    @property
    def dataset(self) -> Sequences:
        return self.sequences

    @property
    def pad_token_id(self) -> int:
        return self.documents.tokens.pad_token_id

    def callbacks(self) -> list[TrainerCallback]:
        return [_Keeper(self.sequences, self.batch_size)]

    def arguments(self) -> dict[str, Any]:
        """Nothing is skipped when a run goes on, since the stream begins at the right place; and every process reads
        for itself."""
        return {
            "ignore_data_skip": True,
            "accelerator_config": {"dispatch_batches": False, "split_batches": False},
        }

    def loader(self, batch: Batch, pin_memory: bool) -> DataLoader[Any]:
        return DataLoader(
            self.sequences,
            batch_size=batch.micro,
            collate_fn=self.collate,
            pin_memory=pin_memory,
            # A loader draws a number when it is begun: not from the state that dropout goes on with.
            generator=torch.Generator(),
        )

    def sample(self) -> list[dict[str, Any]]:
        return sample_of(self.documents)

    def described(self) -> dict[str, Any]:
        """For the record."""
        return {
            "layout": self.collate.layout,
            "order": "stream",
            "buffer_tokens": self.sequences.stream.buffer_tokens,
            "shards": {
                label: len(c.shards) for label, c in zip(self.labels, self.sequences.stream.corpora, strict=True)
            },
        }

    def ended(self, steps: int, events: Events) -> dict[str, Any]:
        """Of the summary; tells what was read up to the end of the last buffer that was trained on."""
        position = self.sequences.position(steps * self.batch_size)
        epochs = [place.epoch for place in position.end.places]
        ledger = [
            {"dataset": label, "restarts": restarts, **counts}
            for label, restarts, counts in zip(self.labels, epochs, position.end.counts, strict=True)
        ]
        events.effective(ledger={"data": ledger})
        if any(epochs):
            said = ", ".join(
                f"{label} {ended} times" for label, ended in zip(self.labels, epochs, strict=True) if ended
            )
            events.warning(
                "stream-restarted", f"read to the end, and begun again in another order: {said}", epochs_ended=epochs
            )
        return {"buffers": position.end.buffer, "epochs": min(epochs)}


class _Keeper(TrainerCallback):
    """Writes into every checkpoint where it stands in the stream, and finds that place again."""

    def __init__(self, sequences: Sequences, batch_size: int) -> None:
        self._sequences = sequences
        self._batch_size = batch_size

    def on_train_begin(
        self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **kwargs: Any
    ) -> None:
        if state.global_step:
            body = json.loads((_folder(args, state) / _FILE).read_text())
            self._sequences.go_to(msgspec.convert(body, Position))

    def on_save(self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **kwargs: Any) -> None:
        if state.is_world_process_zero:
            position = self._sequences.position(state.global_step * self._batch_size)
            write_durably(_folder(args, state) / _FILE, msgspec.to_builtins(position))


def _folder(args: TrainingArguments, state: TrainerState) -> Path:
    return Path(str(args.output_dir)) / f"checkpoint-{state.global_step}"


def open_stream(spec: Sft, request: Request, events: Events) -> Stream:
    """The stream of a request: inputs `data` (files or datasets, in the order of the run's items) and `tokenizer`.

    Raises ActionError: `wrong-format`, and what files, formats and encoders raise.
    """
    vocabulary = open_vocabulary(request.one("tokenizer").path)
    items = items_of(spec)
    corpora = [
        _corpus(item, source, vocabulary, spec.seed, number, events)
        for number, (item, source) in enumerate(zip(items, request.inputs["data"], strict=True))
    ]
    return Stream(
        corpora,
        [item.weight for item in items],
        sequence_len=spec.sequence_len,
        overlong=spec.overlong,
        buffer_tokens=spec.buffer_tokens,
        packing=spec.packing,
        seed=spec.seed,
        # Padding is masked and carries no label, so without a pad token any id will do.
        pad_token_id=vocabulary.pad_id or 0,
    )


def _corpus(item: DataItem, source: Input, vocabulary: Vocabulary, seed: int, number: int, events: Events) -> Corpus:
    if source.reading:
        shards, form = file_shards(source, events.warning)
    else:
        dataset = open_dataset(source.path)
        shards, form = chunk_shards(source.label, dataset), dataset.shape
    refused = refusal("loss", source.label, form)
    if refused:
        raise ActionError(refused.message, slug=refused.slug, hint=refused.hint)
    said = {name: value for name in _MASKING if (value := getattr(item, name)) is not None}
    return Corpus(source.label, shards, encoder_of(vocabulary, TokenItem(format=form, **said)), seed, number)


_MASKING = ("train_on", "roles", "chat_template")


def stream_feed(spec: Sft, attn: str, stream: Stream) -> StreamFeed:
    """Raises ActionError (`no-end-of-turn`) if no turn at the beginning of a dataset teaches the model to stop."""
    items = items_of(spec)
    some = min(spec.buffer_tokens, 8 * spec.sequence_len * len(items))
    first = next(stream.buffers(stream.beginning, some))
    for item, turns, ended in zip(items, first.turns, first.ended, strict=True):
        if turns and not ended and item.require_end is not False:
            raise ActionError(
                f"{item.dataset}: none of its first {turns} trained turns ends with a token that generation stops at",
                slug="no-end-of-turn",
                hint="set `eos_token` in a [tokenizer] table to what the chat template ends a turn with, or "
                "require_end = false for these rows",
            )
    if not len(first.spans):
        raise ActionError(
            f"the first {some} tokens have none to learn: {first.end.counts}",
            slug="no-labels",
            hint='train_on = "all" labels every token',
        )
    documents = Documents(first.tokens, first.spans)
    collate = Collator(documents.tokens.pad_token_id, layout_of(spec, attn))
    return StreamFeed(documents, collate, Sequences(stream), [i.dataset for i in items], spec.batch_size)
