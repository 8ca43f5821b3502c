"""Byte-level BPE (Sennrich et al. 2016, https://arxiv.org/abs/1508.07909) on the text of datasets.

Every text can be encoded: the 256 bytes are in the vocabulary before the first merge.
"""

from __future__ import annotations

from collections.abc import Iterator

from tokenizers import Tokenizer, decoders, models, pre_tokenizers, processors, trainers

from tunekit.data.columns import Row
from tunekit.data.formats.stored import texts_of
from tunekit.data.rowset import open_dataset
from tunekit.errors import ActionError
from tunekit.protocol import Events, Input
from tunekit.steps.tokenizer.spec import Tokenizer as Spec


def train(spec: Spec, special: list[str], data: list[Input], events: Events) -> Tokenizer:
    """A tokenizer with `special` as its first ids. The same rows give the same merges.

    Raises ActionError (`vocabulary-too-small`, `no-text`).
    """
    smallest = 256 + len(special)
    if spec.vocab_size < smallest:
        raise ActionError(
            f"vocab_size {spec.vocab_size} is less than 256 bytes and {len(special)} special tokens",
            slug="vocabulary-too-small",
            hint=f"set vocab_size to at least {smallest}",
        )
    tokenizer = Tokenizer(models.BPE())
    bytes_ = pre_tokenizers.ByteLevel(add_prefix_space=False)
    digits = [pre_tokenizers.Digits(individual_digits=True)] if spec.individual_digits else []
    tokenizer.pre_tokenizer = pre_tokenizers.Sequence([*digits, bytes_])
    tokenizer.decoder = decoders.ByteLevel()
    trainer = trainers.BpeTrainer(
        vocab_size=spec.vocab_size,
        min_frequency=2,
        show_progress=False,
        special_tokens=special,
        initial_alphabet=sorted(pre_tokenizers.ByteLevel.alphabet()),
    )
    tokenizer.train_from_iterator(_texts(data, events), trainer)
    if spec.bos_token:
        bos = spec.bos_token
        tokenizer.post_processor = processors.TemplateProcessing(
            single=f"{bos}:0 $A:0",
            pair=f"{bos}:0 $A:0 {bos}:1 $B:1",
            special_tokens=[(bos, tokenizer.token_to_id(bos))],
        )
    if tokenizer.get_vocab_size() < spec.vocab_size:
        events.warning(
            "vocabulary-smaller",
            f"the text gives {tokenizer.get_vocab_size()} tokens, not the {spec.vocab_size} of vocab_size",
        )
    return tokenizer


def _texts(data: list[Input], events: Events) -> Iterator[str]:
    datasets = [open_dataset(source.path) for source in data]
    total = sum(d.rows for d in datasets)
    done = 0
    for source, dataset in zip(data, datasets, strict=True):
        for number, row in enumerate(dataset.iter_rows()):
            yield from _text_of(row, dataset.shape, f"{source.label}, row {number}")
            done += 1
            events.progress(done, total, "row")


def _text_of(row: Row, shape: str, where: str) -> Iterator[str]:
    """The texts of a row of any form. Raises ActionError (`no-text`)."""
    found = list(texts_of(row, shape))
    if not found:
        raise ActionError(
            f"{where} has no text", slug="no-text", hint="a vocabulary is learnt from `text`, `messages` or `prompt`"
        )
    yield from found
