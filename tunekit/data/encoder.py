"""Rows to token ids and a label for each: which tokens the loss is computed on."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from itertools import count
from typing import NamedTuple, TypeAlias, TypeVar

from tunekit.data.answers import FORMS as ANSWERED
from tunekit.data.answers import answer_of, steps_of
from tunekit.data.blocks import Spliced
from tunekit.data.columns import Row
from tunekit.data.conversation import RowFault, conversation_of
from tunekit.data.labels import Ends, labels_of
from tunekit.data.marked import Marked
from tunekit.data.plainrows import Text, completion_of, segments_of, tokens_of
from tunekit.data.spliced import Splicer
from tunekit.data.template import ChatTemplate
from tunekit.data.turns import Masks, TrainOn
from tunekit.data.vocabulary import Vocabulary
from tunekit.errors import ActionError
from tunekit.forms import ACCEPTS, CONSUMERS

_BATCH = 128  # rows that tokenizers works on at a time, on all threads
_CHARACTERS = 1 << 22  # of a batch: what tokenizers returns takes some hundred bytes for each
LONGEST = 1 << 24  # characters of one row

_Number: TypeAlias = int | str  # what an error calls a row
_Batch: TypeAlias = list[tuple[Text, _Number]]
_In = TypeVar("_In")
_Out = TypeVar("_Out")


class Encoded(NamedTuple):
    """One row. `labelled[i]`: the loss is computed on token i. `straddling`: tokens that lie across the edge of
    what is trained; they are not labelled, and `straddlers` says which they are. `turns`: trained turns, `ended`:
    those that end with a token that generation stops at. `notes`: reasons for the ledger (docs/masks.md).
    `verdicts`: what the row says of its answer, or of every step, whose last token is labelled."""

    input_ids: list[int]
    labelled: list[bool]
    straddling: int = 0
    straddlers: Sequence[int] = ()
    turns: int = 0
    ended: int = 0
    notes: Sequence[str] = ()
    verdicts: Sequence[bool] = ()


class Encoder:
    """Encodes rows of one form: chat, completion, segments or tokens; preference, unpaired or stepwise."""

    def __init__(
        self,
        vocabulary: Vocabulary,
        shape: str,
        train_on: TrainOn = "assistant",
        roles: Sequence[str] = ("assistant",),
        template: ChatTemplate | None = None,
        reads: str = "loss",
    ) -> None:
        """`train_on`: the turns of `roles`, the last of them, or all; `template`: instead of the vocabulary's own;
        `reads`: what of a row that has more than one text (`tunekit.steps.tokens.spec.Reads`).

        Raises ActionError (`no-template`, `no-eos`, `unknown-form`).
        """
        self.vocabulary = vocabulary
        self.shape = shape
        self.train_on = train_on
        self.reads = reads
        self.template = template or vocabulary.template
        self._ends = Ends(vocabulary.stop_ids, vocabulary.special_ids)
        if shape == "chat" and self.template is None:
            raise ActionError(
                "the tokenizer has no chat template",
                slug="no-template",
                hint='set `chat_template` (for instance "chatml") in a [tokenizer] table, or use completion rows',
            )
        if shape == "completion" and vocabulary.eos_id is None:
            raise ActionError(
                "the tokenizer has no eos_token, so the end of a completion would never be learnt", slug="no-eos"
            )
        if shape not in ACCEPTS[CONSUMERS[reads]]:
            raise ActionError(f"rows of form `{shape}` have no labels", slug="unknown-form")
        self._masks = Masks(self.template, train_on, roles) if self.template else None
        printed = self.template.text if self.template and shape in ("chat", *ANSWERED) else ""
        self._splicer = Splicer(vocabulary.tokenizer, printed, vocabulary.stop_ids)

    def encode(self, rows: Iterable[Row], numbers: Iterable[_Number] | None = None) -> Iterator[Encoded]:
        """Each row, in order; what comes of one depends on it alone. `numbers`: what errors call them; default:
        from 0. Raises ActionError with the row's number: `double-bos`, `text-too-long`, and all that RowFault stands
        for in `data/`.
        """
        left = zip(rows, count() if numbers is None else numbers, strict=False)
        if self.shape in ("tokens", "stepwise"):
            make = self._tokens if self.shape == "tokens" else self._steps
            for row, number in left:
                yield _at(number, make, row)
            return
        batches = _batches((_at(number, self._text, row), number) for row, number in left)
        if self._splicer.in_python:
            for batch in batches:
                yield from self._labelled(batch, self._encodings(batch))
            return
        # Python prints and labels while the tokenizer, which holds no lock of Python's, is at the next batch.
        with ThreadPoolExecutor(1) as tokenizer:
            before: tuple[_Batch, Future[list[Spliced]]] | None = None
            for batch in batches:
                encodings = tokenizer.submit(self._encodings, batch)
                if before:
                    yield from self._labelled(before[0], before[1].result())
                before = batch, encodings
            if before:
                yield from self._labelled(before[0], before[1].result())

    def _tokens(self, row: Row) -> Encoded:
        return Encoded(*tokens_of(row, self.vocabulary.size))

    def _steps(self, row: Row) -> Encoded:
        pieces, verdicts = steps_of(row)
        _check_length(sum(map(len, pieces)))
        ids, flags = self._beginning()
        for number, piece in enumerate(self._splicer.encode([Marked(piece, False, [], []) for piece in pieces])):
            ends = number > 0 and number % 2 == 0  # a separator
            ids += piece.ids
            flags += [False] * (len(piece.ids) - ends) + [True] * ends
        return Encoded(ids, flags, verdicts=verdicts)

    def _beginning(self) -> tuple[list[int], list[bool]]:
        """The tokens that the tokenizer itself begins a text with."""
        vocabulary = self.vocabulary
        return ([vocabulary.bos_id], [False]) if vocabulary.adds_bos and vocabulary.bos_id is not None else ([], [])

    def _text(self, row: Row) -> Text:
        text = self._printed(row)
        _check_length(len(text.marked.text))
        return text

    def _printed(self, row: Row) -> Text:
        if self.shape == "chat":
            assert self._masks is not None
            return Text(self._masks.of(conversation_of(row)), framed=False, end=False, chat=True)
        if self.shape in ANSWERED:
            return answer_of(row, self.reads, self._masks)
        return completion_of(row) if self.shape == "completion" else segments_of(row)

    def _encodings(self, batch: _Batch) -> list[Spliced]:
        return self._splicer.encode([text.marked for text, _ in batch])

    def _labelled(self, batch: _Batch, encodings: list[Spliced]) -> Iterator[Encoded]:
        for (text, number), encoding in zip(batch, encodings, strict=True):
            yield _at(number, self._encoded, (text, encoding))

    def _encoded(self, pair: tuple[Text, Spliced]) -> Encoded:
        text, encoding = pair
        labels = labels_of(text.marked, encoding, self._ends)
        made = Encoded(
            encoding.ids,
            labels.flags,
            len(labels.straddling),
            labels.straddling,
            labels.turns,
            labels.ended,
            text.marked.notes,
            text.verdicts,
        )
        made = made if text.chat else self._framed(text, made)
        vocabulary = self.vocabulary
        if vocabulary.bos_id is not None and made.input_ids[:2] == [vocabulary.bos_id] * 2:
            raise RowFault(
                "double-bos",
                f"the row begins with two `{vocabulary.tokens['bos_token']}`",
                "the chat template or the tokenizer adds it: leave it out of the text",
            )
        return made

    def _framed(self, text: Text, made: Encoded) -> Encoded:
        """With the tokens that begin and end a text: `bos_token` only where the tokenizer itself would put one (so
        that training and inference agree). A turn is what is trained of segments, or an answer."""
        vocabulary, ids, flags, straddlers = self.vocabulary, made.input_ids, made.labelled, made.straddlers
        if text.framed and vocabulary.adds_bos and vocabulary.bos_id is not None:
            ids, flags = [vocabulary.bos_id, *ids], [text.marked.base, *flags]
            straddlers = [place + 1 for place in straddlers]
        if text.framed and ids[-1:] != [vocabulary.eos_id]:
            if vocabulary.eos_id is None:
                raise RowFault("no-eos", "the tokenizer has no eos_token, so the end would never be learnt")
            ids, flags = [*ids, vocabulary.eos_id], [*flags, text.end]
        turns = int(self.shape != "completion" and any(flags))
        last = next((token for token, on in zip(reversed(ids), reversed(flags), strict=True) if on), None)
        return made._replace(
            input_ids=ids,
            labelled=flags,
            straddlers=straddlers,
            turns=turns,
            ended=int(bool(turns) and last in vocabulary.stop_ids),
        )


def _check_length(characters: int) -> None:
    if characters > LONGEST:
        raise RowFault(
            "text-too-long",
            f"a text of {characters:,} characters; a row may have {LONGEST:,}",
            'make several rows of it with a `map`, or of a file with reader = "paragraphs" or "lines"',
        )


def _batches(texts: Iterable[tuple[Text, _Number]]) -> Iterator[_Batch]:
    """As many as one call of tokenizers takes: few of long ones."""
    batch: _Batch = []
    characters = 0
    for text, number in texts:
        characters += len(text.marked.text)
        if batch and (len(batch) == _BATCH or characters > _CHARACTERS):
            yield batch
            batch, characters = [], len(text.marked.text)
        batch.append((text, number))
    if batch:
        yield batch


def _at(number: _Number, make: Callable[[_In], _Out], given: _In) -> _Out:
    """`make(given)`; its RowFault as an ActionError that names the row."""
    try:
        return make(given)
    except RowFault as e:
        raise ActionError(f"row {number}: {e}", slug=e.slug, hint=e.hint, row=number) from e
