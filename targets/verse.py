"""Rows made from the plays: passages to read, lines with the line that follows, and lines to answer."""

from __future__ import annotations

import re
from itertools import pairwise

WORD = re.compile(r"[a-z]+")
HELD_OUT_PLAYS = ("tempest_gut.txt", "macbeth_gut.txt")


def passages(row: dict, part: str, size: int = 700) -> list[dict] | None:
    """A play as passages of about `size` characters, line by line; `part`: `train`, or `heldout` (two plays)."""
    if (row["file"] in HELD_OUT_PLAYS) != (part == "heldout"):
        return None
    out, text = [], ""
    for line in row["text"].lower().splitlines():
        text += " ".join(line.split()) + "\n"
        if len(text) >= size:
            out.append({"text": re.sub(r"\n{2,}", "\n\n", text).strip(), "file": row["file"]})
            text = ""
    return out


def couplets(row: dict) -> list[dict] | None:
    """Chat rows: a line of verse, answered by the line that follows it in the play."""
    lines = [" ".join(WORD.findall(line)) for line in row["text"].split("\n")]
    pairs = [(a, b) for a, b in pairwise(lines) if min(a.count(" "), b.count(" ")) >= 4]
    turns = [[{"role": "user", "content": a}, {"role": "assistant", "content": b}] for a, b in pairs]
    return [{"messages": t} for t in turns] or None


def lines(row: dict) -> list[dict] | None:
    """Prompts: the passage's lines of five words or more."""
    found = [" ".join(WORD.findall(line)) for line in row["text"].split("\n")]
    return [{"prompt": line} for line in found if line.count(" ") >= 4] or None
