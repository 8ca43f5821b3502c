"""Token ids as the text that they stand for, token by token."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

from tokenizers import Tokenizer

_TOKENS_OF_A_CHARACTER = 4  # a character has at most four bytes
_CUT = "\ufffd"  # what bytes that are no whole character decode to


TRAINED, MASKED, STRADDLING = "trained", "masked", "straddling"


class Piece(NamedTuple):
    """Some text and the ids it comes from: one, or several that only together make a character. `flag`: whether the
    loss is computed on it; `straddling`: it is not, because it lies across the edge of what is trained. `special`: a
    token that text cannot be mistaken for (an added one)."""

    text: str
    ids: list[int]
    flag: str
    special: bool


class Decoder:
    """The text of ids, with the spaces that a tokenizer leaves out or puts in at the edges of what it decodes."""

    def __init__(self, tokenizer: Tokenizer) -> None:
        self._tokenizer = tokenizer
        self._added = frozenset(tokenizer.get_added_tokens_decoder())

    def pieces(self, ids: Sequence[int], flags: Sequence[str]) -> list[Piece]:
        """In order; every id is in one piece. Where tokens with different flags share a character, each is shown as
        it is in the vocabulary."""
        out: list[Piece] = []
        group: list[int] = []
        before: list[int] = []
        start = 0
        for place, id in enumerate(ids):
            if group and id in self._added:
                out += self._closed(group, before, flags[start:place])
                before, group, start = group, [], place
            group.append(id)
            if self._whole(group):
                out += self._closed(group, before, flags[start : place + 1])
                before, group, start = group, [], place + 1
        return out + (self._closed(group, before, flags[start:]) if group else [])

    def _whole(self, group: list[int]) -> bool:
        if group[0] in self._added or len(group) == _TOKENS_OF_A_CHARACTER:
            return True
        return not self._decode(group).endswith(_CUT)

    def _closed(self, group: list[int], before: list[int], flags: Sequence[str]) -> list[Piece]:
        if len(set(flags)) > 1:
            return [Piece(self._name(id), [id], flag, False) for id, flag in zip(group, flags, strict=True)]
        if group[0] in self._added:
            return [Piece(self._name(group[0]), group, flags[0], True)]
        unknown = len(group) == 1 and self._tokenizer.id_to_token(group[0]) is None  # decoding leaves it out
        text = self._name(group[0]) if unknown else self._text(group, before)
        return [Piece(text, group, flags[0], False)]

    def _text(self, group: list[int], before: list[int]) -> str:
        """What the group adds to what is decoded before it."""
        context = self._decode(before) if before else ""
        both = self._decode([*before, *group]) if before else self._decode(group)
        return both[len(context) :] if both.startswith(context) else self._decode(group)

    def _decode(self, ids: list[int]) -> str:
        return str(self._tokenizer.decode(ids, skip_special_tokens=False))

    def _name(self, id: int) -> str:
        """As it is in the vocabulary; an id that is not in it, by its number."""
        return self._tokenizer.id_to_token(id) or f"<id {id}>"


def window(pieces: list[Piece], most: int, around: str = "") -> tuple[list[Piece], int, int]:
    """At most `most` tokens, from the start or around a text; and how many are left out before and behind."""
    total = sum(len(p.ids) for p in pieces)
    if total <= most:
        return pieces, 0, 0
    first = max(_place_of(pieces, around) - most // 2, 0) if around else 0
    kept: list[Piece] = []
    before = count = 0
    for place, piece in enumerate(pieces):
        if place < first and total - before > most:
            before += len(piece.ids)
        elif count < most:
            kept.append(piece)
            count += len(piece.ids)
    return kept, before, total - before - count


def _place_of(pieces: list[Piece], text: str) -> int:
    """The piece in which a text begins; 0 if it is in none."""
    at = "".join(p.text for p in pieces).find(text)
    for place, piece in enumerate(pieces):
        if at < len(piece.text):
            return place
        at -= len(piece.text)
    return 0
