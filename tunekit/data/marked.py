"""A row as text, with what is trained of it as spans of characters: what masks make and labels are made of."""

from __future__ import annotations

from bisect import bisect_left
from typing import NamedTuple


class Span(NamedTuple):
    """Characters [start, end) that are trained or not. `turn`: it is a whole turn. `close`: it ends behind its
    end-of-turn token, which is looked for from there on; None: at `end`. `header`: where the turn's header begins,
    if the span begins with the token that `start` lies in."""

    start: int
    end: int
    train: bool
    turn: bool = False
    close: int | None = None
    header: int | None = None


class Marked(NamedTuple):
    """`base`: the flag of what no span covers; later spans win. `notes`: reasons for the ledger."""

    text: str
    base: bool
    spans: list[Span]
    notes: list[str]


def trained(spans: list[Span], base: bool, length: int) -> list[tuple[int, int]]:
    """The stretches of trained characters of a text of `length`, in order, neighbours joined."""
    at, flags = [0], [base]  # flags[i] holds from at[i] to at[i + 1]
    for start, end, train, *_ in spans:
        first = _cut(at, flags, start)
        last = _cut(at, flags, end)
        flags[first:last] = [train] * (last - first)
    out: list[tuple[int, int]] = []
    for start, end, flag in zip(at, [*at[1:], length], flags, strict=True):
        if flag and start < end:
            if out and out[-1][1] == start:
                out[-1] = (out[-1][0], end)
            else:
                out.append((start, end))
    return out


def _cut(at: list[int], flags: list[bool], place: int) -> int:
    """The index of the stretch that begins at a place, made if there is none."""
    index = bisect_left(at, place)
    if index == len(at) or at[index] != place:
        at.insert(index, place)
        flags.insert(index, flags[index - 1])
    return index
