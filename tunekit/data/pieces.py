"""Parts of a message whose flag is not the message's, as stretches of its text."""

from __future__ import annotations

from tunekit.data.conversation import Turn
from tunekit.data.probe import core_of

Stretch = tuple[int, int, bool]  # characters [start, end) of the field, and whether they are trained


def edges_of(turn: Turn, train: bool) -> dict[str, list[Stretch]]:
    """By field, the stretches whose flag is not `train`, the message's. White space at the edges of a text may be
    cut off by the template, so it is left to the message."""
    out: dict[str, list[Stretch]] = {}
    for field, parts in turn.parts.items():
        low, high = core_of(turn.texts[field])
        stretches: list[Stretch] = []
        for part in parts:
            flag = train if part.train is None else part.train
            start, end = max(part.start, low), min(part.end, high)
            if flag == train or start >= end:
                continue
            if stretches and stretches[-1][1] == start:
                stretches[-1] = (stretches[-1][0], end, flag)
            else:
                stretches.append((start, end, flag))
        if stretches:
            out[field] = stretches
    return out


def spaced(turn: Turn, runs: dict[str, list[Stretch]]) -> list[str]:
    """A note if white space stands at the end of a part whose neighbour has another flag: tokens have it at their
    beginning, so it straddles."""
    for field, stretches in runs.items():
        text = turn.texts[field]
        low, high = core_of(text)
        if any(low < at < high and text[at - 1].isspace() for start, end, _ in stretches for at in (start, end)):
            return ["edge-space"]
    return []
