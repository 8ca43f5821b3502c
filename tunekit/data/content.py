"""The content of a row as bytes, and their digest: equal content, equal digest, in any process and chunk.

A row is encoded as JSON with sorted keys. A field that is null counts as one that is not there: in a chunk every row
has every field. JSON has no bytes, dates, NaN and infinities; a row that has such gets the kinds of its columns
added, so that the date 2024-01-02 and the text "2024-01-02" differ.
"""

from __future__ import annotations

import datetime
import decimal
import hashlib
import math
from functools import lru_cache
from typing import Any

import msgspec
import numpy as np

from tunekit.data.columns import Kind, Mismatch, Row, is_json, to_text


def content_of(row: Row, kind: Kind) -> bytes:
    """Raises Mismatch for what cannot be encoded (half of a surrogate pair)."""
    try:
        data = _encode(row)
        if b"null" not in data:  # neither None nor NaN
            return data if is_json(kind) else data + _told(kind)
        odd: list[float] = []
        data = _encode(_without_nulls(row, odd))
    except (TypeError, ValueError) as e:
        raise Mismatch(str(e)) from None
    return data if is_json(kind) and not odd else data + _told(kind)


def raw_content_of(row: Row, kind: Kind) -> bytes:
    """A row exactly as a `map` would see it: null fields and the order of keys count as well."""
    try:
        data = _encode_as_is(row)
        if b"null" in data:
            data = _encode_as_is(_told_floats(row))
    except (TypeError, ValueError) as e:
        raise Mismatch(str(e)) from None
    return data + _told(kind)


def digest_of_row(row: Row, kind: Kind) -> bytes:
    """sha256 of a row's content, 32 bytes."""
    return hashlib.sha256(content_of(row, kind)).digest()


@lru_cache(1 << 12)
def _told(kind: Kind) -> bytes:
    return b"\0" + to_text(_without_null_fields(kind)).encode()  # JSON text has no byte 0


def _without_null_fields(kind: Kind) -> Kind:
    if not isinstance(kind, tuple):
        return kind
    if kind[0] == "list":
        return ("list", _without_null_fields(kind[1]))
    return ("table", tuple((name, _without_null_fields(k)) for name, k in kind[1] if k != "null"))


def _without_nulls(value: Any, odd: list[float]) -> Any:
    """A value whose tables have no null fields, and text for floats that JSON lacks (which `odd` collects)."""
    if isinstance(value, dict):
        return {name: _without_nulls(item, odd) for name, item in value.items() if item is not None}
    if isinstance(value, (list, tuple)):
        return [_without_nulls(item, odd) for item in value]
    if isinstance(value, (float, np.floating)) and not math.isfinite(value):
        odd.append(float(value))
        return repr(float(value))
    return value


def _told_floats(value: Any) -> Any:
    """A value with text for floats that JSON lacks."""
    if isinstance(value, dict):
        return {name: _told_floats(item) for name, item in value.items()}
    if isinstance(value, (list, tuple)):
        return [_told_floats(item) for item in value]
    return repr(float(value)) if isinstance(value, (float, np.floating)) and not math.isfinite(value) else value


def _beyond(value: Any) -> Any:
    """What msgspec does not encode itself."""
    if isinstance(value, np.generic):
        return value.item()
    if isinstance(value, np.ndarray):
        return value.tolist()
    if isinstance(value, str):  # of a subclass
        return str.__str__(value)
    if isinstance(value, (datetime.date, datetime.time, datetime.timedelta, decimal.Decimal)):
        return str(value)
    raise TypeError(f"a {type(value).__name__} cannot be stored")


_encode = msgspec.json.Encoder(enc_hook=_beyond, order="sorted").encode
_encode_as_is = msgspec.json.Encoder(enc_hook=_beyond).encode
