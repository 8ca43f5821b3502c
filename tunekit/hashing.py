"""Digests, and the one canonical encoding that keys are made of.

sha256 (written `sha256:<hex>`) names whatever another party may read; structures are hashed, never
text, paths, clocks or pickles. xxh3 is used elsewhere, only where a wrong answer costs work.
"""

from __future__ import annotations

import hashlib
import json
import os
from collections.abc import Iterable
from typing import Any

PREFIX = "sha256:"
_BLOCK = 1 << 20
_TREE = "tunekit/tree/1"
_encode = json.JSONEncoder(sort_keys=True, separators=(",", ":"), ensure_ascii=False, allow_nan=False).encode


def canonical(value: Any) -> bytes:
    """JSON with sorted keys and no spaces: equal structures give equal bytes on every machine.

    Raises ValueError for NaN and infinities, TypeError for anything that is not
    None, bool, int, float, str, list, tuple or dict with str keys.
    """
    if not _fits(value):
        _check(value, "")
    return _encode(value).encode()


def _fits(value: Any) -> bool:
    """What `_check` checks, without saying where: keys are made by the thousand, and most fit."""
    if value is None or isinstance(value, (str, int, float)):
        return True
    if isinstance(value, dict):
        return all([isinstance(key, str) for key in value]) and all(map(_fits, value.values()))
    return isinstance(value, (list, tuple)) and all(map(_fits, value))


def _check(value: Any, where: str) -> None:
    if value is None or isinstance(value, (bool, int, float, str)):
        return
    if isinstance(value, (list, tuple)):
        for i, item in enumerate(value):
            _check(item, f"{where}[{i}]")
    elif isinstance(value, dict):
        for key, item in value.items():
            if not isinstance(key, str):
                raise TypeError(f"{where or 'value'}: key {key!r} is not a string")
            _check(item, f"{where}.{key}" if where else key)
    else:
        raise TypeError(f"{where or 'value'}: a {type(value).__name__} cannot be hashed")


def sha256_bytes(data: bytes) -> str:
    return PREFIX + hashlib.sha256(data).hexdigest()


def digest_of(value: Any, domain: str) -> str:
    """Digest of a structure. `domain` keeps digests of different things apart (`tunekit/action/1`)."""
    return sha256_bytes(domain.encode() + b"\0" + canonical(value))


def sha256_file(path: str | os.PathLike[str]) -> str:
    """Digest of a file's bytes in bounded memory (1 MiB blocks; the GIL is released while hashing)."""
    h = hashlib.sha256()
    fd = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
    try:
        while block := os.read(fd, _BLOCK):
            h.update(block)
    finally:
        os.close(fd)
    return PREFIX + h.hexdigest()


def hex_of(digest: str) -> str:
    """The 64 hex digits of a digest; ValueError if it is not one of ours."""
    text = digest[len(PREFIX) :] if digest.startswith(PREFIX) else ""
    if len(text) != 64 or text.strip("0123456789abcdef"):
        raise ValueError(f"not a sha256 digest: {digest!r}")
    return text


def short(digest: str) -> str:
    """First 12 hex digits: what people read."""
    return digest[len(PREFIX) : len(PREFIX) + 12]


def tree_digest(entries: Iterable[tuple[str, int, bool, str]]) -> str:
    """Digest that names an artifact: its files as `(path, size, executable, sha256:…)`, sorted by path."""
    return digest_of([list(e) for e in sorted(entries)], _TREE)


def tree_digest_of(body: bytes) -> str:
    """The same of the list as it is stored, if that is canonical: nothing is encoded for it."""
    return sha256_bytes(_TREE.encode() + b"\0" + body)
