"""Where a place in a message's text comes to lie in the rendering, found with characters that occur nowhere in it.

A mark (a private-use character) is put at the place, the conversation rendered once more, and what is there is
believed only if the text without the marks is, character by character, the rendering without them.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable
from itertools import islice
from typing import NamedTuple

from tunekit.data.columns import Row
from tunekit.data.template import TemplateRefusal

_MARKS = range(0xE000, 0xF8FF)
_PRIVATE = re.compile("[\ue000-\uf8ff]")


class Place(NamedTuple):
    """Before character `offset` of a field of a message."""

    message: int
    field: str
    offset: int


def core_of(text: str) -> tuple[int, int]:
    """Characters [start, end) of a text without the white space at its edges, which templates may cut off."""
    inner = text.lstrip()
    start = len(text) - len(inner)
    return (start, start + len(inner.rstrip())) if inner else (0, 0)


def behind_space(text: str, at: int) -> int:
    """The first place from `at` on that is no white space."""
    while at < len(text) and text[at].isspace():
        at += 1
    return at


def find(
    render: Callable[[list[Row]], str], messages: list[Row], places: list[Place], plain: str
) -> list[list[int]] | None:
    """For every place where it lies in `plain`: nowhere if the template drops it, or several times. None: marks
    change what is printed, so nothing is known."""
    used = set(_PRIVATE.findall(plain)) | {
        c for p in places for c in _PRIVATE.findall(str(messages[p.message][p.field]))
    }
    free = list(islice((mark for mark in map(chr, _MARKS) if mark not in used), len(places)))
    if len(free) < len(places):
        return None
    try:
        marked = render(_marked(messages, zip(places, free, strict=True)))
    except TemplateRefusal:
        return None
    mine = dict(zip(free, range(len(free)), strict=True))
    out: list[list[int]] = [[] for _ in places]
    pieces, last = [], 0
    for seen, match in enumerate(m for m in _PRIVATE.finditer(marked) if m[0] in mine):
        pieces.append(marked[last : match.start()])
        last = match.end()
        out[mine[match[0]]].append(match.start() - seen)
    return out if "".join([*pieces, marked[last:]]) == plain else None


def find_any(
    render: Callable[[list[Row]], str], messages: list[Row], choices: Iterable[list[Place]], plain: str
) -> list[list[int]] | None:
    """The first of several sets of places whose marks change nothing."""
    for places in choices:
        found = find(render, messages, places, plain)
        if found is not None:
            return found
    return None


def _marked(messages: list[Row], marks: Iterable[tuple[Place, str]]) -> list[Row]:
    out = list(messages)
    # From the last to the first, so that the offsets of the others stay right.
    for place, mark in sorted(marks, key=lambda item: item[0].offset, reverse=True):
        text = out[place.message][place.field]
        made = out[place.message] | {place.field: text[: place.offset] + mark + text[place.offset :]}
        if place.field == "reasoning_content":
            made["thinking"] = made[place.field]
        out[place.message] = made
    return out
