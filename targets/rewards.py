"""The verifiable reward: answer a line of verse with six different words of the plays, none of them from the line."""

from __future__ import annotations

import re

from targets.lexicon import WORDS

LINE = re.compile(r"[a-z]+( [a-z]+)*")
WANTED = 6


def six_words(completions: list, prompts: list[str], **columns: object) -> list[float]:
    """Share of hits in [0, 1]. A hit is a word of the plays of three letters or more that neither the prompt has nor
    the answer had before. Missing words count as misses, extra words lengthen the denominator, and anything but
    lower-case words scores 0: neither silence, rambling, repetition nor echoing pays."""
    return [_score(c[0]["content"].strip(), p) for c, p in zip(completions, prompts, strict=True)]


def _score(text: str, asked: str) -> float:
    if not LINE.fullmatch(text):
        return 0.0
    said = set(asked.split(" "))
    hits = 0
    words = text.split(" ")
    for word in words:
        hits += word in WORDS and word not in said
        said.add(word)
    return hits / max(WANTED, len(words))
