"""Bytes that say whether they are as they were written: the torn-write check of cache files.

xxh3-128, not sha256: a wrong answer costs work, and nobody else reads it. It is no defence against an edit on purpose.
"""

from __future__ import annotations

import xxhash

_WIDTH = 32  # hex digits of 128 bits


def seal(data: bytes) -> bytes:
    """`data` behind its checksum and a line end."""
    return xxhash.xxh3_128_hexdigest(data).encode() + b"\n" + data


def unseal(sealed: bytes) -> bytes | None:
    """What `seal` was given; None if these bytes are not what it wrote."""
    check, data = sealed[: _WIDTH + 1], sealed[_WIDTH + 1 :]
    return data if check == xxhash.xxh3_128_hexdigest(data).encode() + b"\n" else None
