"""Which characters of a rendering are which message's."""

from __future__ import annotations

from typing import NamedTuple

from tunekit.data.instrument import ENDED
from tunekit.data.template import Trace


class Region(NamedTuple):
    """Characters [start, end) printed while loop `loop` was at one message: its header, text and end."""

    start: int
    end: int
    loop: int


def regions_of(trace: Trace, messages: int) -> list[Region | None]:
    """The region of every message; None if no loop printed it, or more than one place has it."""
    found: list[list[Region]] = [[] for _ in range(messages)]
    at: dict[int, tuple[int, int]] = {}
    for loop, message, position in trace.steps:
        before, start = at.pop(loop, (ENDED, 0))
        if before != ENDED and position > start:
            found[before].append(Region(start, position, loop))
        if message != ENDED:
            at[loop] = message, position
    return [places[0] if len(places) == 1 else None for places in found]


def end_of(trace: Trace, loop: int) -> int:
    """Where a loop ended the last time; 0 if it never ran."""
    return max((step.position for step in trace.steps if step.loop == loop and step.message == ENDED), default=0)
