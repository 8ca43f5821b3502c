"""Which characters of a rendering are which message's."""

from __future__ import annotations

from typing import NamedTuple

from tunekit.data.instrument import ENDED
from tunekit.data.template import ChatTemplate, TemplateRefusal, Trace


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


def answer_headers(template: ChatTemplate) -> list[str]:
    """What a template prints in front of plain answers to plain questions, an earlier one and the last; none if that
    cannot be told."""
    marks = "\ue000\ue001"
    roles = (("user", "?"), ("assistant", marks[0]), ("user", "?"), ("assistant", marks[1]))
    try:
        trace = template.trace([{"role": role, "content": content} for role, content in roles])
    except TemplateRefusal:
        return []
    found = []
    for region, mark in zip(regions_of(trace, 4)[1::2], marks, strict=True):
        at = trace.text.find(mark)
        if region is None or not region.start <= at < region.end:
            return []
        found.append(trace.text[region.start : at])
    return found


def end_of(trace: Trace, loop: int) -> int:
    """Where a loop ended the last time; 0 if it never ran."""
    return max((step.position for step in trace.steps if step.loop == loop and step.message == ENDED), default=0)
