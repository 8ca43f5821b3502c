"""Rows without a chat template: completions, segments, and rows that are tokens already.

completion  {text}                        labelled wholly, and its end
segments    {segments: [{text, train}], end}  as written; `end`: the end of the text is added, and trained if the
            last segment is
tokens      {input_ids, labels}           a label is -100 or the token of its own place; no labels: all are trained
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, NamedTuple

from tunekit.data.columns import Row
from tunekit.data.conversation import RowFault
from tunekit.data.marked import Marked, Span

IGNORED = -100


class Text(NamedTuple):
    """A row as text. `framed`: the tokens that begin and end a text are added; `end`: whether its end is trained.
    `chat`: a template has printed it. `verdicts`: what the row says of its answer."""

    marked: Marked
    framed: bool
    end: bool
    chat: bool = False
    verdicts: Sequence[bool] = ()


class Tokens(NamedTuple):
    input_ids: list[int]
    labelled: list[bool]


def completion_of(row: Row) -> Text:
    return Text(Marked(row["text"], True, [], []), framed=True, end=True)


def segments_of(row: Row) -> Text:
    """Raises RowFault (`bad-segments`)."""
    segments = row.get("segments")
    if not isinstance(segments, list) or not segments:
        raise RowFault("bad-segments", "there are no segments", 'segments are [{"text": "…", "train": true}, …]')
    text, spans, notes = "", [], []
    before: bool | None = None
    for number, segment in enumerate(segments):
        piece, train = (segment.get("text"), segment.get("train")) if isinstance(segment, dict) else (None, None)
        if not isinstance(piece, str) or not isinstance(train, bool):
            raise RowFault("bad-segments", f"segment {number} is {segment!r:.80}, not {{text, train}}")
        if not piece:
            continue
        if before is not None and before != train and text[-1].isspace():
            notes = ["edge-space"]
        if train:
            spans.append(Span(len(text), len(text) + len(piece), True))
        text += piece
        before = train
    return Text(Marked(text, False, spans, notes), framed=bool(row.get("end")), end=bool(before))


def tokens_of(row: Row, size: int) -> Tokens:
    """`size`: tokens in the vocabulary. Raises RowFault (`token-out-of-range`, `bad-labels`)."""
    ids: Any = row["input_ids"]
    labels: Any = row.get("labels")
    wrong = next((i for i, token in enumerate(ids) if not 0 <= token < size), None)
    if wrong is not None:
        message = f"input_ids is {ids[wrong]} at {wrong}; the tokenizer has {size} tokens"
        raise RowFault("token-out-of-range", message, "the rows were made with another tokenizer")
    if labels is None:
        return Tokens(ids, [True] * len(ids))
    if len(labels) != len(ids):
        raise RowFault("bad-labels", f"{len(labels)} labels for {len(ids)} input_ids")
    wrong = next((i for i, (a, b) in enumerate(zip(labels, ids, strict=True)) if a not in (b, IGNORED)), None)
    if wrong is not None:
        message = f"labels is {labels[wrong]} at {wrong}, where input_ids is {ids[wrong]}"
        raise RowFault("bad-labels", message, "a label is -100 or the token of its own place (nothing is shifted)")
    return Tokens(ids, [label != IGNORED for label in labels])
