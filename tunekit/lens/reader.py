"""How a run or an eval reads rows: their tokens as they are stored, or (of prompts) as they will be encoded."""

from __future__ import annotations

from typing import NamedTuple

import msgspec

from tunekit.data.answers import FORMS as ANSWERED
from tunekit.data.columns import Row
from tunekit.data.encoder import Encoder
from tunekit.data.rowset import Dataset
from tunekit.data.tokenset import TokenSet, open_tokens
from tunekit.data.vocabulary import Vocabulary, open_vocabulary
from tunekit.engine.prompts import prompt_of
from tunekit.errors import ActionError
from tunekit.forms import ACCEPTS
from tunekit.lens.pieces import MASKED, STRADDLING, TRAINED, Decoder
from tunekit.lens.tokens import Stored
from tunekit.question import Subject
from tunekit.steps.tokens.masking import encoder_of
from tunekit.steps.tokens.spec import TokenItem


class Seen(NamedTuple):
    """One row as it is read. `left_out`: why no tokens of it are stored; it is shown with those that it would have.
    `notes`: what the encoder remarks of it (docs/masks.md)."""

    ids: list[int]
    flags: list[str]
    left_out: str = ""
    notes: list[str] = []


class Reader:
    """What one subject's rows become. Raises ActionError of the openers."""

    def __init__(self, subject: Subject, dataset: Dataset) -> None:
        self._label = subject.label
        self.vocabulary: Vocabulary = open_vocabulary(subject.tokenizer)
        self.decoder = Decoder(self.vocabulary.tokenizer)
        self.tokens: TokenSet | None = open_tokens(subject.tokens).items[subject.item] if subject.tokens else None
        self.prompts = self.tokens is None and dataset.shape in ACCEPTS["generation"]
        self._encoder = self._encoder_of(subject.settings)

    def _encoder_of(self, settings: dict[str, object]) -> Encoder | None:
        """None where the record of the tokens is of another version, whose settings are not ours."""
        if self.tokens is None:
            return None
        try:
            item = msgspec.convert({**settings, "format": self.tokens.shape}, TokenItem)
        except msgspec.ValidationError:
            return None
        return encoder_of(self.vocabulary, item)

    @property
    def template(self) -> str:
        """The chat template that rows are printed with; empty without one."""
        if self.tokens is not None and self.tokens.shape not in ("chat", *ANSWERED):
            return ""
        template = self._encoder.template if self._encoder else self.vocabulary.template
        return template.text if template else ""

    def seen(self, number: int, row: Row, stored: Stored | None) -> Seen:
        """A row, with its stored tokens if there are any."""
        if self.tokens is None:
            return self._prompt(number, row)
        if stored is None:
            return self._left_out(number, row)
        flags = [TRAINED if on else MASKED for on in stored[1]]
        try:
            again = self._encode(number, row)
        except ActionError:
            return Seen(stored[0], flags)
        if again[0] != stored[0]:
            return Seen(stored[0], flags)
        return Seen(stored[0], [STRADDLING if a == STRADDLING else f for f, a in zip(flags, again[1], strict=True)],
                    notes=again[3])  # fmt: skip

    def _encode(self, number: int, row: Row) -> Seen:
        """What the row becomes by the settings that made the stored tokens."""
        if self._encoder is None:
            return Seen([], [])
        (made,) = self._encoder.encode([row], [number])
        flags = [TRAINED if on else MASKED for on in made.labelled]
        for place in made.straddlers:
            flags[place] = STRADDLING
        return Seen(made.input_ids, flags, notes=list(made.notes))

    def _left_out(self, number: int, row: Row) -> Seen:
        try:
            made = self._encode(number, row)
        except ActionError as e:
            return Seen([], [], e.message)
        return made._replace(left_out="no token of it would be trained")

    def _prompt(self, number: int, row: Row) -> Seen:
        if not self.prompts:
            return Seen([], [])
        try:
            ids = prompt_of(row, self.vocabulary, f"{self._label}, row {number}").ids
        except ActionError as e:
            return Seen([], [], e.message)
        return Seen(ids, [MASKED] * len(ids))
