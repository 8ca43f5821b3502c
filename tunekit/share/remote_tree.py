"""An artifact's list of files as a blob that its own name proves: its sha256 is the artifact's digest."""

from __future__ import annotations

import json

from tunekit.hashing import canonical, hex_of, sha256_bytes
from tunekit.lockfile import bad_path
from tunekit.store.artifacts import Entry

_DOMAIN = b"tunekit/tree/1\0"


def tree_blob(entries: list[Entry]) -> bytes:
    """The bytes that `tunekit.hashing.tree_digest` hashes."""
    return _DOMAIN + canonical([list(e) for e in sorted(entries)])


def entries_of(data: bytes, digest: str) -> list[Entry] | None:
    """The files of an artifact, or None if these bytes are not its list, or name a file outside of it."""
    if sha256_bytes(data) != digest or not data.startswith(_DOMAIN):
        return None
    try:
        entries = [Entry(*e) for e in json.loads(data[len(_DOMAIN) :])]
        sound = all(
            not bad_path(e.path) and type(e.size) is int and e.size >= 0 and type(e.executable) is bool
            and hex_of(e.digest) for e in entries
        )  # fmt: skip
    except (ValueError, TypeError, AttributeError, RecursionError):
        return None
    names = {e.path for e in entries}
    inside = any(parent in names for e in entries for parent in _parents(e.path))
    return entries if sound and not inside and len(names) == len(entries) else None


def _parents(path: str) -> list[str]:
    steps = path.split("/")
    return ["/".join(steps[:i]) for i in range(1, len(steps))]
