"""How a run or an eval reads rows: their tokens as they are stored, or (of prompts) as they will be encoded."""

from __future__ import annotations

from typing import NamedTuple

from tunekit.data.columns import Row
from tunekit.data.encoder import Encoder
from tunekit.data.rowset import Dataset
from tunekit.data.tokenset import TokenSet, open_tokens
from tunekit.data.vocabulary import Vocabulary, open_vocabulary
from tunekit.engine.prompts import prompt_of
from tunekit.errors import ActionError
from tunekit.forms import ACCEPTS
from tunekit.lens.pieces import Decoder
from tunekit.lens.rows import Places, rows_of
from tunekit.lens.tokens import rows as token_rows
from tunekit.question import Subject


class Seen(NamedTuple):
    """One row as it is read. `left_out`: why it is not trained on, though here it is shown with its tokens."""

    ids: list[int]
    labelled: list[bool]
    left_out: str = ""


class Reader:
    """What one subject's rows become. Raises ActionError of the openers."""

    def __init__(self, subject: Subject, dataset: Dataset) -> None:
        self.subject = subject
        self.dataset = dataset
        self.vocabulary: Vocabulary = open_vocabulary(subject.tokenizer)
        self.decoder = Decoder(self.vocabulary.tokenizer)
        self.tokens: TokenSet | None = open_tokens(subject.tokens).items[subject.item] if subject.tokens else None

    @property
    def template(self) -> str:
        return self.vocabulary.template.text if self.vocabulary.template else ""

    def rows(self, numbers: Places) -> dict[int, Seen]:
        """Rows by number."""
        found: dict[int, Seen] = {}
        if self.tokens is not None:
            found = {number: Seen(*row) for number, row in token_rows(self.tokens, numbers).items()}
        for number, row in rows_of(self.dataset, numbers):
            if number not in found:
                found[number] = self._encoded(number, row)
        return found

    def _encoded(self, number: int, row: Row) -> Seen:
        """A row whose tokens are not stored: a prompt, or one that was left out of the tokens."""
        try:
            if self.tokens is None:
                ids = prompt_of(row, self.vocabulary, f"{self.subject.label}, row {number}").ids
                return Seen(ids, [False] * len(ids))
            encoder = Encoder(self.vocabulary, self.tokens.shape, self.tokens.train_on)  # type: ignore[arg-type]
            (made,) = encoder.encode([row], number)
            return Seen(made.input_ids, made.labelled, "no token of it is trained")
        except ActionError as e:
            return Seen([], [], e.message)


def is_prompts(dataset: Dataset) -> bool:
    return dataset.shape in ACCEPTS["generation"]
