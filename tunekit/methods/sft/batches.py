"""How documents become batches: padded rows, packed rows, or one row without padding; and in which order they come."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, Literal, NamedTuple

import numpy as np
import torch
from torch.utils.data import DataLoader, Sampler
from transformers import TrainerCallback, TrainerControl, TrainerState, TrainingArguments
from trl.trainer.sft_trainer import DataCollatorForLanguageModeling

from tunekit.engine.arguments import Batch
from tunekit.engine.packing import Packing
from tunekit.engine.parallel import rank
from tunekit.engine.shares import Shares, WithFiller
from tunekit.engine.shuffle import grouped_by_length
from tunekit.methods.sft.dataset import Documents, sample_of
from tunekit.methods.sft.spec import Sft
from tunekit.protocol import Events

# Attention implementations that tell documents apart by their lengths in one row; the others get a mask of the row.
VARLEN = ("flash_attention_2", "flash_attention_3")
# padded: [B, T] with an attention mask, a document a row. rows: [B, T], several documents a row. flat: [1, sum].
Layout = Literal["padded", "rows", "flat"]


def layout_of(spec: Sft, attn: str) -> Layout:
    """A mask of [B, T, T] is cheaper than one of [1, B*T, B*T], and a varlen kernel takes one row only."""
    if spec.padding_free or (spec.packing and attn in VARLEN):
        return "flat"
    return "rows" if spec.packing else "padded"


class Counts(NamedTuple):
    """Tokens of the rows, those of them that a loss is taken of, and tokens of padding beside them."""

    tokens: int
    supervised_tokens: int
    padding_tokens: int


class Collator:
    """TRL's collator, and `counts` (a `Counts`) of the batch.

    Where several documents share a row there is no attention mask: Transformers then takes each restart of
    `position_ids` as the start of a document, and keeps documents apart (`masking_utils.find_packed_sequence_indices`;
    with a varlen kernel, by the `cu_seq_lens` that TRL adds). No document's first token is a label: it has nothing
    of its own before it. A padding token restarts the positions, too: it sees itself alone, and nothing sees it.
    """

    def __init__(self, pad_token_id: int, layout: Layout) -> None:
        self.layout = layout
        self._collate = DataCollatorForLanguageModeling(
            pad_token_id, padding_free=layout == "flat", return_position_ids=layout == "rows"
        )

    def __call__(self, examples: list[dict[str, Any]]) -> dict[str, Any]:
        batch: dict[str, Any] = self._collate([{k: v for k, v in e.items() if k != "filler"} for e in examples])
        if self.layout == "rows":
            del batch["attention_mask"]
            batch["labels"][batch["position_ids"] == 0] = -100
        tokens = sum(len(e["input_ids"]) for e in examples if "filler" not in e)
        supervised = int((batch["labels"][:, 1:] != -100).sum())
        counts = Counts(tokens, supervised, batch["input_ids"].numel() - tokens)
        return {**batch, "counts": tuple(counts)}  # plain: Transformers rebuilds what it moves to a device


class Order(Sampler[Any]):
    """The order of an epoch, which a callback names before it begins: a function of lengths, seed and epoch, so that
    a resumed run needs nothing but the number of steps that are behind it."""

    name = "shuffled"

    def __init__(self, rows: int, seed: int) -> None:
        self._rows = rows
        self._seed = seed
        self.epoch = 0

    def __len__(self) -> int:
        return self._rows

    def __iter__(self) -> Iterator[Any]:
        """As accelerate's `SeedableRandomSampler` has it."""
        generator = torch.Generator().manual_seed(self._seed + self.epoch)
        yield from torch.randperm(self._rows, generator=generator).tolist()

    def figures(self) -> dict[str, float]:
        """Of the whole order, for the record."""
        return {}


class PackedOrder(Order):
    """Sequences as the numbers of their documents."""

    name = "packed"

    def __init__(self, packing: Packing, seed: int) -> None:
        super().__init__(len(packing), seed)
        self._packing = packing

    def figures(self) -> dict[str, float]:
        return {"sequences": len(self._packing), "fill": round(self._packing.fill, 6)}

    def __iter__(self) -> Iterator[np.ndarray]:
        return self._packing.epoch(self._seed, self.epoch)


class GroupedOrder(Order):
    """Documents one by one; those of one optimizer step have about the same length."""

    name = "grouped"

    def __init__(self, lengths: np.ndarray, batch_size: int, seed: int) -> None:
        super().__init__(len(lengths), seed)
        self._lengths = lengths
        self._batch_size = batch_size

    def __iter__(self) -> Iterator[int]:
        return iter(grouped_by_length(self._lengths, self._batch_size, self._seed, self.epoch).tolist())


class Feed(NamedTuple):
    """What a trainer reads: documents in an order, collated."""

    documents: Documents
    collate: Collator
    order: Order

    @property
    def dataset(self) -> Documents:
        """What is trained on."""
        return self.documents

    def callbacks(self) -> list[TrainerCallback]:
        """What the trainer must call for the order to be right."""
        return [EpochTeller(self.order)]

    def arguments(self) -> dict[str, Any]:
        """What the trainer's arguments need for it."""
        return {}

    def loader(self, batch: Batch, pin_memory: bool) -> DataLoader[Any]:
        """What this process reads. Of several, each its own share: accelerate must not deal it out again."""
        settings: dict[str, Any] = {"collate_fn": self.collate, "pin_memory": pin_memory}
        if batch.world == 1:
            return DataLoader(self.documents, batch.micro, sampler=self.order, **settings)
        shares = Shares(self.order, batch.size, batch.micro, rank(), batch.world)
        return DataLoader(WithFiller(self.documents), batch_sampler=shares, **settings)

    def sample(self) -> list[dict[str, Any]]:
        """A few sequences, for a check that costs little."""
        return sample_of(self.documents)

    def ended(self, steps: int, events: Events) -> dict[str, Any]:
        """What the summary has of it."""
        return {}

    def described(self) -> dict[str, Any]:
        """For the record."""
        return {
            "layout": self.collate.layout,
            "order": self.order.name,
            "rows": len(self.documents),
            **self.order.figures(),
        }


def feed_of(spec: Sft, attn: str, documents: Documents) -> Feed:
    order = Order(len(documents), spec.seed)
    if spec.packing:
        order = PackedOrder(Packing(documents.lengths, spec.sequence_len), spec.seed)
    elif spec.group_by_length:
        order = GroupedOrder(documents.lengths, spec.batch_size, spec.seed)
    return Feed(documents, Collator(documents.tokens.pad_token_id, layout_of(spec, attn)), order)


class EpochTeller(TrainerCallback):
    """Accelerate tells a sampler its epoch only under some of its own wrappers; this does always."""

    def __init__(self, order: Order) -> None:
        self._order = order

    def on_epoch_begin(
        self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **kwargs: Any
    ) -> None:
        self._order.epoch = int(state.epoch or 0)
