"""Rows to token ids and a label for each: which tokens the loss is computed on."""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Iterable, Iterator
from itertools import count, islice
from typing import Any, NamedTuple

from tokenizers import Encoding

from tunekit.data.columns import Row
from tunekit.data.formats.stored import open_messages
from tunekit.data.turns import Turn, assistant_turns, render
from tunekit.data.vocabulary import Vocabulary
from tunekit.errors import ActionError

_BATCH = 256  # rows that tokenizers works on at a time, on all threads


class Encoded(NamedTuple):
    """One row. `labelled[i]`: the loss is computed on token i. `straddling`: tokens that lie across the edge
    of an assistant turn; they are not labelled."""

    input_ids: list[int]
    labelled: list[bool]
    straddling: int = 0


class _Marked(NamedTuple):
    """A row as text, and what of it is labelled: character ranges, or everything."""

    text: str
    turns: list[Turn] | None


class Encoder:
    """Encodes rows of one shape. `train_on`: `assistant` turns or `all`; a completion is labelled wholly."""

    def __init__(self, vocabulary: Vocabulary, shape: str, train_on: str) -> None:
        """Raises ActionError (`no-template`, `no-eos`)."""
        self.vocabulary = vocabulary
        self.shape = shape
        self.train_on = train_on
        if shape not in ("chat", "completion"):
            raise ActionError(f"rows of form `{shape}` have no labels yet", slug="unknown-form")
        if shape == "chat" and vocabulary.template is None:
            raise ActionError(
                "the tokenizer has no chat template",
                slug="no-template",
                hint='declare a [tokenizer] with chat_template = "chatml", or use completion rows',
            )
        if shape == "completion" and vocabulary.eos_id is None:
            raise ActionError(
                "the tokenizer has no eos_token, so the end of a completion would never be learnt", slug="no-eos"
            )

    def encode(self, rows: Iterable[Row], numbers: Iterable[int] | None = None) -> Iterator[Encoded]:
        """Each row, in order. `numbers`: what errors call them; default: from 0.

        Raises ActionError (`double-bos`, `no-messages`, `template-refused`, `template-not-prefix-stable`).
        """
        left = zip(rows, count() if numbers is None else numbers, strict=False)
        while batch := [(self._marked(row, number), number) for row, number in islice(left, _BATCH)]:
            yield from self._encode_batch(batch)

    def _marked(self, row: Row, number: int) -> _Marked:
        if self.shape == "completion":
            return _Marked(row["text"], None)
        template = self.vocabulary.template
        assert template is not None
        messages: list[dict[str, Any]] = open_messages(row["messages"])
        text = render(template, messages, number)
        return _Marked(text, None if self.train_on == "all" else assistant_turns(template, messages, text, number))

    def _encode_batch(self, batch: list[tuple[_Marked, int]]) -> Iterator[Encoded]:
        encodings = self.vocabulary.tokenizer.encode_batch([m.text for m, _ in batch], add_special_tokens=False)
        for (marked, number), encoding in zip(batch, encodings, strict=True):
            encoded = self._completion(encoding) if self.shape == "completion" else self._chat(marked, encoding)
            self._check_bos(encoded.input_ids, number)
            yield encoded

    def _completion(self, encoding: Encoding) -> Encoded:
        """Text and its end; `bos_token` first only where the tokenizer itself would put one (so that training
        and inference agree)."""
        vocabulary, ids = self.vocabulary, encoding.ids
        assert vocabulary.eos_id is not None
        if vocabulary.adds_bos and vocabulary.bos_id is not None:
            ids = [vocabulary.bos_id, *ids]
        if ids[-1:] != [vocabulary.eos_id]:
            ids = [*ids, vocabulary.eos_id]
        return Encoded(ids, [True] * len(ids))

    def _chat(self, marked: _Marked, encoding: Encoding) -> Encoded:
        ids = encoding.ids
        if marked.turns is None:
            return Encoded(ids, [True] * len(ids))
        offsets = encoding.offsets
        special = self.vocabulary.special_ids
        labelled = [False] * len(ids)
        straddling = 0
        i = 0
        for turn in marked.turns:
            end = _turn_end(turn, marked.text, ids, offsets, special)
            while i < len(ids) and offsets[i][1] <= turn.start:
                i += 1
            while i < len(ids) and offsets[i][0] < end:
                inside = turn.start <= offsets[i][0] and offsets[i][1] <= end
                labelled[i] = inside
                straddling += not inside
                i += 1
        return Encoded(ids, labelled, straddling)

    def _check_bos(self, ids: list[int], number: int) -> None:
        bos = self.vocabulary.bos_id
        if bos is not None and ids[:2] == [bos, bos]:
            raise ActionError(
                f"row {number} begins with two `{self.vocabulary.tokens['bos_token']}`",
                slug="double-bos",
                hint="the chat template or the tokenizer adds it: leave it out of the text",
            )


def _turn_end(turn: Turn, text: str, ids: list[int], offsets: list[tuple[int, int]], special: frozenset[int]) -> int:
    """Where the labels of a turn stop: behind its end-of-turn token, which is the last special token after
    the content when only whitespace follows; a turn without one is labelled to its end."""
    found = turn.end
    for i in _last_tokens(turn, offsets):
        if ids[i] in special:
            found = offsets[i][1]
            break
    return found if not text[found : turn.end].strip() else turn.end


def _last_tokens(turn: Turn, offsets: list[tuple[int, int]]) -> Iterator[int]:
    """Tokens that lie inside [content_end, end), the last first."""
    i = bisect_left(offsets, turn.end, key=lambda o: o[0]) - 1
    while i >= 0 and offsets[i][0] >= turn.content_end:
        if offsets[i][1] <= turn.end:
            yield i
        i -= 1
