"""`.tunekit/history.jsonl`: what was built when. Append-only; the one project file that cannot be rebuilt."""

from __future__ import annotations

import json
import os
import time
from pathlib import Path
from typing import Any

from tunekit.errors import StoreError
from tunekit.foreign import STATE_BYTES, Unfit, json_of, read_plain
from tunekit.hashing import hex_of
from tunekit.manifest.find import own_folder


def path(root: Path) -> Path:
    return root / ".tunekit" / "history.jsonl"


def append(root: Path, label: str, record: dict[str, Any], how: str) -> None:
    """One line; a single write, so that two builds do not mix theirs."""
    line = {
        "t": round(time.time(), 3),
        "label": label,
        "key": record["key"],
        "attempt": record["attempt"],
        "outputs": record["outputs"],
        "how": how,
    }
    file = f"{root}/.tunekit/history.jsonl"
    flags = os.O_WRONLY | os.O_CREAT | os.O_APPEND | os.O_CLOEXEC
    try:
        fd = os.open(file, flags, 0o644)
    except FileNotFoundError:
        own_folder(root)
        fd = os.open(file, flags, 0o644)
    try:
        os.write(fd, json.dumps(line, sort_keys=True).encode() + b"\n")
    finally:
        os.close(fd)


def read(root: Path) -> list[dict[str, Any]]:
    """All lines, oldest first; a torn last line is passed over."""
    out = []
    try:
        lines = read_plain(path(root), STATE_BYTES).splitlines()
    except FileNotFoundError:
        return []
    except Unfit as e:
        hint = "move it away: it only says which results gc must keep"
        raise StoreError(f"{path(root)} {e}", slug="bad-history", hint=hint) from None
    for line in lines:
        try:
            found = json_of(line)
        except ValueError:
            continue
        if _is_line(found):
            out.append(found)
    return out


def last(root: Path, label: str) -> dict[str, Any] | None:
    """The newest line of a label, searched from the end: a long history is not decoded for it."""
    try:
        data = read_plain(path(root), STATE_BYTES)
    except (OSError, Unfit):
        return None
    needle, end = f'"label": {json.dumps(label)}'.encode(), len(data)
    while (at := data.rfind(needle, 0, end)) >= 0:
        begin, stop = data.rfind(b"\n", 0, at) + 1, data.find(b"\n", at)
        try:
            found = json_of(data[begin : stop if stop >= 0 else None])
        except ValueError:
            found = None
        if _is_line(found) and found["label"] == label:
            return dict(found)
        end = at
    return None


def _is_line(found: Any) -> bool:
    """Whether `append` could have written it."""
    try:
        digests = [hex_of(digest) for digest in [found["key"], *found["outputs"].values()]]
        return bool(digests) and all(isinstance(found[name], str) for name in ("label", "attempt"))
    except (ValueError, KeyError, TypeError, AttributeError):
        return False
