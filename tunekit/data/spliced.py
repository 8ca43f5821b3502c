"""Texts tokenized block by block. A block begins with a special token, which no text before it merges with, so its
tokens are the same wherever it stands: a system prompt that comes again is tokenized once. Offsets, a fifth of the
tokenizer's work, are made of the blocks that a span touches; of another one should somebody ask. Where the tokenizer
allows it, a block is tokenized word by word (tunekit.data.words).
"""

from __future__ import annotations

import re
from bisect import bisect_left, bisect_right
from collections.abc import Sequence
from itertools import accumulate, pairwise

from tokenizers import AddedToken, Encoding, Tokenizer

from tunekit.data.blocks import Block, Spliced
from tunekit.data.marked import Marked, Span
from tunekit.data.words import Words

_MOST = 1 << 20  # characters


class Splicer:
    """Tokenizes texts of one template. What comes of a text depends on it alone."""

    def __init__(self, tokenizer: Tokenizer, template: str, stops: frozenset[int]) -> None:
        """`template`: special tokens that it names are where texts are cut, except for `stops`, which end a turn."""
        self._tokenizer = tokenizer
        added = tokenizer.get_added_tokens_decoder()
        texts = [token.content for token in added.values()]
        named = [token for id, token in added.items() if token.content in template and id not in stops]
        openers = [token.content for token in named if _is_safe(token, texts)]
        self._opener = re.compile("|".join(map(re.escape, openers))) if openers else None
        self._words = Words.of(tokenizer)
        self._known: dict[str, Block] = {}
        self._held = 0  # characters of blocks that are remembered

    @property
    def in_python(self) -> bool:
        """Whether the work is Python's, mostly: then nothing is done beside it."""
        return self._words is not None

    def encode(self, texts: list[Marked]) -> list[Spliced]:
        """Each text; what `encode_batch` gives for it."""
        if self._held > _MOST:
            self._known, self._held = {}, 0
        cut = [self._cut(marked.text) for marked in texts]
        if self._words:
            self._learn_words(self._words, [block for block in {b for c in cut for b in c} if block not in self._known])
        else:
            self._learn(cut, texts)
        return [Spliced([self._known[block] for block in blocks]) for blocks in cut]

    def _learn_words(self, words: Words, blocks: list[str]) -> None:
        for block, ids in zip(blocks, words.ids(blocks), strict=True):
            self._known[block] = Block(block, ids, words.places)
        self._held += sum(map(len, blocks))

    def _learn(self, cut: list[list[str]], texts: list[Marked]) -> None:
        wanted: dict[str, bool] = {}  # block → whether its offsets are
        for marked, blocks in zip(texts, cut, strict=True):
            numbers = _touched(blocks, marked.spans)
            for number, block in enumerate(blocks):
                known = self._known.get(block)
                if known is None or (number in numbers and not known.placed):
                    wanted[block] = number in numbers or wanted.get(block, False)
        touched = [block for block, offsets in wanted.items() if offsets]
        others = [block for block, offsets in wanted.items() if not offsets]
        encode, encode_fast = self._tokenizer.encode_batch, self._tokenizer.encode_batch_fast
        for block, found in zip(touched, encode(touched, add_special_tokens=False), strict=True):
            self._known[block] = Block(block, found.ids, self._whole, found)
        for block, found in zip(others, encode_fast(others, add_special_tokens=False), strict=True):
            self._known[block] = Block(block, found.ids, self._whole)
        self._held += sum(map(len, wanted))

    def _whole(self, text: str, _: Sequence[int]) -> Encoding:
        return self._tokenizer.encode(text, add_special_tokens=False)

    def _cut(self, text: str) -> list[str]:
        places = [match.start() for match in self._opener.finditer(text)] if self._opener else []
        bounds = [0, *(place for place in places if place), len(text)]
        return [text[start:end] for start, end in pairwise(bounds)]


def _touched(blocks: list[str], spans: list[Span]) -> set[int]:
    """Numbers of the blocks that a span shares a character or an edge with."""
    bounds = list(accumulate(map(len, blocks), initial=0))  # block i: bounds[i] to bounds[i + 1]
    found: set[int] = set()
    for span in spans:
        first = bisect_left(bounds, span.start, 1) - 1
        found.update(range(first, bisect_right(bounds, span.end, 0, len(blocks))))
    return found


def _is_safe(token: AddedToken, all: list[str]) -> bool:
    """Whether a text may be cut in front of each such token: it is looked for in the text as it is, takes nothing of
    what stands around it, and no added token can lie across its beginning."""
    text = token.content
    plain = not (token.normalized or token.lstrip or token.rstrip or token.single_word)
    if not (token.special and plain) or re.match(r"\w|\s", text):  # what such a text begins with may be its neighbour's
        return False
    return not any(
        text.startswith(other[at:]) or other.startswith(text, at) for other in all for at in range(1, len(other))
    )
