"""Texts and their tokens, to be asked where each of them is."""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Callable, Sequence
from itertools import accumulate, chain
from typing import Protocol


class Places(Protocol):
    """An Encoding of `tokenizers` is one."""

    def char_to_token(self, char_pos: int, /) -> int | None:
        """The token that a character is part of, if any."""
        ...

    def token_to_chars(self, token_index: int, /) -> tuple[int, int] | None:
        """Characters [start, end) of a token."""
        ...


class InRow:
    """Tokens that follow each other without gaps, by the character that each ends with."""

    __slots__ = ("_ends",)

    def __init__(self, ends: Sequence[int]) -> None:
        self._ends = ends

    def char_to_token(self, at: int) -> int | None:
        token = bisect_right(self._ends, at)
        return token if token < len(self._ends) else None

    def token_to_chars(self, token: int) -> tuple[int, int] | None:
        return (self._ends[token - 1] if token else 0, self._ends[token])


class Block:
    """`ids`: the tokens of `text`. Their places are looked for once somebody wants them: `find(text, ids)`."""

    __slots__ = ("_find", "_places", "ids", "text")

    def __init__(
        self, text: str, ids: Sequence[int], find: Callable[[str, Sequence[int]], Places], places: Places | None = None
    ):
        self.text, self.ids, self._find, self._places = text, ids, find, places

    @property
    def placed(self) -> bool:
        return self._places is not None

    @property
    def places(self) -> Places:
        if self._places is None:
            self._places = self._find(self.text, self.ids)
        return self._places


class Spliced:
    """Blocks that follow each other, as one text. There is at least one."""

    def __init__(self, blocks: list[Block]) -> None:
        self._blocks = blocks
        before = blocks[:-1]
        self._starts = list(accumulate((len(block.text) for block in before), initial=0))  # characters before each
        self._firsts = list(accumulate((len(block.ids) for block in before), initial=0))  # tokens before each
        self.ids = list(chain.from_iterable([block.ids for block in blocks]))

    def char_to_token(self, at: int) -> int | None:
        number = bisect_right(self._starts, at) - 1
        token = self._blocks[number].places.char_to_token(at - self._starts[number])
        return None if token is None else token + self._firsts[number]

    def token_to_chars(self, token: int) -> tuple[int, int] | None:
        number = bisect_right(self._firsts, token) - 1
        found = self._blocks[number].places.token_to_chars(token - self._firsts[number])
        start = self._starts[number]
        return None if found is None else (found[0] + start, found[1] + start)
