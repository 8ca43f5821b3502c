"""Raw rows to rows. What JSON would lose in silence (a key given twice, half a character) is an error."""

from __future__ import annotations

import json
import re
from typing import Any

import msgspec

from tunekit.data.columns import Row
from tunekit.data.readers.blocks import Lines
from tunekit.data.readers.streams import not_decoded
from tunekit.errors import ActionError

_decode = msgspec.json.Decoder().decode
_encode = msgspec.json.Encoder().encode
_FAULTS = (msgspec.MsgspecError, ValueError, RecursionError)  # ValueError: not UTF-8, or a number of 5000 digits


def parse(lines: Lines, index: int) -> Row:
    """The row. Raises ActionError (`bad-line`, `not-utf8`) with the file and the line."""
    raw = lines.raw(index)
    if lines.reader not in ("jsonl", "json"):
        return {"text": _text(lines, index, raw)}
    try:
        row = _decode(raw)
        whole = type(row) is dict and _no_key_lost(raw, _encode(row))
    except _FAULTS as e:
        raise _not_json(lines, index, raw, e) from e
    return row if whole else _checked(lines, index, raw, row)


def parse_all(lines: Lines) -> list[Row]:
    """All rows of a block: what `parse` gives for each."""
    if lines.reader not in ("jsonl", "json"):
        return [parse(lines, i) for i in range(lines.n)]
    data, decode = lines.data, _decode
    try:
        rows = [decode(data[s:e]) for s, e in zip(lines.starts.tolist(), lines.ends.tolist(), strict=True)]
        span = int(lines.starts[0]), int(lines.ends[-1])
        if {type(row) for row in rows} == {dict} and _no_key_lost(data, _encode(rows), *span):
            return rows
    except _FAULTS:
        pass  # the row at fault is found below
    return [parse(lines, i) for i in range(lines.n)]


def _no_key_lost(raw: bytes, encoded: bytes, *span: int) -> bool:
    """Whether decoding surely kept every key: each is followed by a colon, and strings hold the same ones.

    A colon written as an escape (`\\u003a`) would count on one side only.
    """
    return raw.count(b":", *span) == encoded.count(b":") and raw.find(b"\\u003", *span) < 0


def _checked(lines: Lines, index: int, raw: bytes, row: Any) -> Row:
    """The row of a line that may be no object, or give a key twice."""
    if type(row) is not dict:
        hint = 'a list of rows? then set reader = "json"' if type(row) is list else "a row is {column: value}"
        raise ActionError(f"{lines.where(index)}: {_kind(row)}, not an object", slug="bad-line", hint=hint)
    twice: list[str] = []

    def look(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
        names = [name for name, _ in pairs]
        twice.extend(name for name in names if names.count(name) > 1)
        return dict(pairs)

    json.loads(raw, object_pairs_hook=look)
    if twice:
        message = f"{lines.where(index)}: the key {json.dumps(twice[0])} is there twice"
        raise ActionError(message, slug="bad-line", hint="which of the two values is meant?")
    return row


def _not_json(lines: Lines, index: int, raw: bytes, fault: Exception) -> ActionError:
    if isinstance(fault, UnicodeDecodeError):
        _text(lines, index, raw)
    why, hint = _why(raw, fault)
    return ActionError(f"{lines.where(index)}: not JSON: {why}", slug="bad-line", hint=hint)


def _why(raw: bytes, fault: Exception) -> tuple[str, str]:
    """The standard library's words, which name the place; it also takes what is not JSON."""
    constants: list[str] = []
    try:
        json.loads(raw, parse_constant=constants.append)
    except UnicodeDecodeError:
        return str(fault), ""
    except (ValueError, RecursionError) as e:
        return str(e), ""
    if constants:
        return f"it holds {constants[0]}", "write null where there is no number"
    if re.search(rb"\\u[dD][89a-fA-F]", raw):
        return "half of a surrogate pair is no character", "what wrote the file cut a string inside an emoji"
    return str(fault), ""


def _text(lines: Lines, index: int, raw: bytes) -> str:
    try:
        return raw.decode()
    except UnicodeDecodeError as e:
        line = lines.line + lines.data.count(b"\n", 0, int(lines.starts[index]) + e.start)
        raise not_decoded(f"{lines.name}:{line}", "utf-8", raw[e.start : e.start + 4]) from e


def _kind(value: object) -> str:
    names = {dict: "an object", list: "a list", str: "a string", type(None): "null", bool: "true or false"}
    return names.get(type(value), "a number")
