"""Spans of characters to labels of tokens.

A token is labelled if all its characters are trained. One that straddles the edge of a span is not labelled, and
counted. Positions are asked of the tokenizer's own encoding, so nothing is built per token.
"""

from __future__ import annotations

from typing import NamedTuple

from tunekit.data.blocks import Spliced
from tunekit.data.conversation import RowFault
from tunekit.data.marked import Marked, Span, trained


class Ends(NamedTuple):
    """`stops`: ids that generation stops at. `special`: all special tokens; the last one of a turn ends it."""

    stops: frozenset[int]
    special: frozenset[int]


class Labels(NamedTuple):
    """`flags[i]`: token i is labelled. `straddling`: tokens across an edge. `turns`: trained turns that were to end
    with a token, `ended`: those whose last labelled token is one that generation stops at."""

    flags: list[bool]
    straddling: list[int]
    turns: int
    ended: int


def labels_of(marked: Marked, encoding: Spliced, ends: Ends) -> Labels:
    """The labels of one row. Raises RowFault (`no-turn-start`)."""
    tokens = _Tokens(marked.text, encoding, ends)
    if not marked.spans:
        return Labels([marked.base] * len(tokens.ids), [], 0, 0)
    spans = [tokens.resolved(span) for span in marked.spans]
    turns = [span for span in spans if span.train and span.turn]
    flags = [False] * len(tokens.ids)
    straddling: set[int] = set()
    for start, end in trained(spans, marked.base, len(marked.text)):
        first, last = tokens.inside(start, end, straddling)
        flags[first:last] = [True] * (last - first)
    ended = sum(tokens.stops_at(span.start, span.end) for span in turns)
    return Labels(flags, sorted(straddling), len(turns), ended)


class _Tokens:
    """Tokens of one text, by characters. Several tokens may share a character, and a character may have none."""

    def __init__(self, text: str, encoding: Spliced, ends: Ends) -> None:
        self.text = text
        self.ids = encoding.ids
        self._at = encoding.char_to_token
        self._chars = encoding.token_to_chars
        self._ends = ends

    def chars(self, token: int) -> tuple[int, int]:
        found = self._chars(token)
        return (0, 0) if found is None else found

    def first(self, start: int, end: int) -> int | None:
        """The first token that has a character of [start, end)."""
        return next((t for at in range(start, end) if (t := self._at(at)) is not None), None)

    def last(self, start: int, end: int) -> int | None:
        """The last one."""
        token = next((t for at in range(end - 1, start - 1, -1) if (t := self._at(at)) is not None), None)
        while token is not None and token + 1 < len(self.ids) and self.chars(token + 1)[0] < end:
            if self.chars(token + 1) == (0, 0):
                break
            token += 1
        return token

    def inside(self, start: int, end: int, straddling: set[int]) -> tuple[int, int]:
        """Tokens [first, last) wholly within characters [start, end); those partly within go to `straddling`."""
        first, last = self.first(start, end), self.last(start, end)
        if first is None or last is None:
            return 0, 0
        while first <= last and self.chars(first)[0] < start:
            straddling.add(first)
            first += 1
        while last >= first and self.chars(last)[1] > end:
            straddling.add(last)
            last -= 1
        return first, last + 1

    def resolved(self, span: Span) -> Span:
        """A span with its start at a token, if it has a header, and its end behind the end-of-turn token."""
        start = span.start if span.header is None else self._tight(span, span.header)
        end = span.end if span.close is None else max(start, self._end(span, span.close))
        return span if (start, end) == span[:2] else span._replace(start=start, end=end)

    def _tight(self, span: Span, header: int) -> int:
        """Where a turn that leaves the prompt begins: with a token, behind its header."""
        token = self.first(span.start, span.end)
        if token is not None and self.chars(token)[0] > header:
            return self.chars(token)[0]
        raise RowFault(
            "no-turn-start",
            f"the turn that leaves the generation prompt at {self.text[span.start : span.start + 20]!r} has no place "
            "where the model's own words begin",
            'set another `chat_template`, or train_on = "all"',
        )

    def _end(self, span: Span, close: int) -> int:
        """Behind the last special token when only white space follows it; else where the turn ends, or behind the
        token after it if generation stops there (a template may print a turn's end with the next turn)."""
        token = self.last(span.start, span.end)
        while token is not None and self.chars(token)[0] >= close:
            start, end = self.chars(token)
            if end <= span.end and self._is_end(token):
                return end
            if self.text[start:end].strip() or not token:
                break
            token -= 1
        after = self.first(span.end, min(span.end + 1, len(self.text)))
        if after is not None and self.ids[after] in self._ends.stops and self.chars(after)[0] == span.end:
            return self.chars(after)[1]
        return span.end

    def _is_end(self, token: int) -> bool:
        return self.ids[token] in self._ends.special or self.ids[token] in self._ends.stops

    def stops_at(self, start: int, end: int) -> bool:
        """Whether the last token of a stretch is one that generation stops at, white space behind it aside."""
        token = self.last(start, end)
        while token and self.chars(token)[0] > start and not self.text[slice(*self.chars(token))].strip():
            token -= 1
        return token is not None and self.ids[token] in self._ends.stops
