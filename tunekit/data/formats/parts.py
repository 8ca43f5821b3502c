"""Content that is a list of parts, or a string with marked stretches: the text of it, and which of it is trained."""

from __future__ import annotations

from typing import Any

from tunekit.data.columns import Row
from tunekit.data.formats.fault import Fault, flag, shown, text

_TEXT = ("text", "content", "value")
_KNOWN = {"type", *_TEXT, "train", "weight"}


def train_flag(holder: Row, train: str, weight: str, where: str) -> bool | None:
    """`train`, or `weight` (1: trained, 0: not), of a message or a part; None if it says neither. Raises Fault."""
    flags = {n: flag(holder[n], f"{where} `{n}`") for n in (train, weight) if holder.get(n) is not None}
    if len(set(flags.values())) > 1:
        raise Fault(f"{where} has `{train}` and `{weight}` that contradict each other", "keep one of them")
    return next(iter(flags.values()), None)


def joined(parts: list[Any], where: str) -> tuple[str, list[Row] | None]:
    """The text of all parts, and the parts as `{text, train?}` if one says what is trained. Raises Fault."""
    made = [_part(part, f"{where} part {number}") for number, part in enumerate(parts)]
    whole = "".join(part["text"] for part in made)
    return whole, made if any("train" in part for part in made) else None


def _part(part: Any, where: str) -> Row:
    if not isinstance(part, dict):
        raise Fault(f"{where} is {shown(part)}, not a table", 'a part is {"type": "text", "text": "…"}')
    if part.get("type") not in (None, "text"):
        raise Fault(f"{where} has type {shown(part['type'])}", 'only parts of type "text" can be trained on')
    unknown = [shown(key) for key, value in part.items() if key not in _KNOWN and value is not None]
    if unknown:
        raise Fault(f"{where} has {', '.join(unknown)}", f"a part has {', '.join(sorted(_KNOWN))}")
    texts = [key for key in _TEXT if part.get(key) is not None]
    if len(texts) != 1:
        raise Fault(f"{where} has {' and '.join(texts) or 'no text'}", "a part has one of text, content, value")
    made: Row = {"text": text(part[texts[0]], f"{where} `{texts[0]}`", empty=True)}
    train = train_flag(part, "train", "weight", where)
    return made if train is None else made | {"train": train}


def marked(content: str, details: Any, where: str) -> list[Row]:
    """The parts of a text whose stretches are marked by `{begin_offset, end_offset, train}`: characters from 0,
    the last one included. What no stretch covers is not trained. Raises Fault."""
    hint = "stretches are {begin_offset, end_offset, train}, from 0, the end included, without overlap"
    if not isinstance(details, list):
        raise Fault(f"{where} is {shown(details)}, not a list", hint)
    stretches = sorted(_stretch(item, len(content), f"{where} item {n}", hint) for n, item in enumerate(details))
    parts, end = [], 0
    for start, stop, train in stretches:
        if start < end:
            raise Fault(f"{where} has stretches that overlap at character {start}", hint)
        parts += [(content[end:start], False), (content[start:stop], train)]
        end = stop
    return [{"text": piece, "train": train} for piece, train in [*parts, (content[end:], False)] if piece]


def _stretch(item: Any, length: int, where: str, hint: str) -> tuple[int, int, bool]:
    if not isinstance(item, dict):
        raise Fault(f"{where} is {shown(item)}, not a table", hint)
    begin, end = item.get("begin_offset"), item.get("end_offset")
    if type(begin) is not int or type(end) is not int or not 0 <= begin <= end < length:
        raise Fault(f"{where} is {shown(begin)} to {shown(end)} of {length} characters", hint)
    return begin, end + 1, flag(item.get("train"), f"{where} `train`", hint)
