"""Text without a template, piece by piece.

row    `{segments: [{text, label}]}` (`train` is the same as `label`), or a pair of texts `{prompt, completion}`
form   segments `{segments: [{text, train}], end}`. `end`: whether the end of the text is to be learnt behind it
       (of a pair it is; segments are taken as they are written, end-of-text tokens included)
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from tunekit.data.columns import Row
from tunekit.data.formats.fault import Fault, flag, shown, text
from tunekit.data.formats.naming import Naming

_HINT = 'segments are [{"text": "…", "label": true or false}, …]'
_KNOWN = {"text", "label", "train"}
PAIRS = (("prompt", "completion"), ("input", "output"), ("question", "answer"))


def normaliser(naming: Naming) -> Callable[[Row], Row]:
    name = f"`{naming.names['segments']}`"

    def normalise(row: Row) -> Row:
        given = naming.find(row, "segments")
        if given is not None:
            end = row.get("end")  # a row of the form has said it
            made = {"segments": _segments(given, name), "end": False if end is None else flag(end, "`end`")}
            rest = {key: value for key, value in row.items() if key != "end"}
            return naming.made(rest, made, ("segments",))
        if naming.find(row, "prompt") is None and not naming.given("prompt"):
            naming.need(row, "segments")
        prompt = text(naming.need(row, "prompt"), f"`{naming.names['prompt']}`", naming.hint)
        answer = text(naming.need(row, "completion"), f"`{naming.names['completion']}`", naming.hint, empty=True)
        pair = [{"text": prompt, "train": False}, {"text": answer, "train": True}]
        return naming.made(row, {"segments": pair, "end": True}, ("prompt", "completion", "segments"))

    return normalise


def _segments(given: Any, name: str) -> list[Row]:
    if not isinstance(given, list) or not given:
        raise Fault(f"{name} is {shown(given)}, not a list of segments", _HINT)
    made = [_segment(item, f"{name} item {number}") for number, item in enumerate(given)]
    if not any(item["text"] for item in made):
        raise Fault(f"{name} has no text", _HINT)
    return made


def _segment(item: Any, where: str) -> Row:
    if not isinstance(item, dict):
        raise Fault(f"{where} is {shown(item)}, not a table", _HINT)
    said = {key: value for key, value in item.items() if value is not None}
    if said.keys() - _KNOWN:
        raise Fault(f"{where} has {', '.join(sorted(map(str, said.keys() - _KNOWN)))}", _HINT)
    labels = [key for key in ("label", "train") if key in said]
    if len(labels) != 1:
        raise Fault(f"{where} has {' and '.join(labels) or 'no `label`'}", _HINT)
    return {
        "text": text(said.get("text"), f"{where} `text`", _HINT, empty=True),
        "train": flag(said[labels[0]], f"{where} `{labels[0]}`", _HINT),
    }


def detect(row: Row) -> list[dict[str, str]]:
    value = row.get("segments")
    if isinstance(value, list) and value and isinstance(value[0], dict) and "text" in value[0]:
        return [{}]
    return []


def detect_pair(row: Row) -> list[dict[str, str]]:
    return [
        {"prompt": prompt, "completion": answer}
        for prompt, answer in PAIRS
        if isinstance(row.get(prompt), str) and isinstance(row.get(answer), str)
    ]
