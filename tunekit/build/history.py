"""`.tunekit/history.jsonl`: what was built when. Append-only; the one project file that cannot be rebuilt."""

from __future__ import annotations

import json
import os
import re
import time
from pathlib import Path
from typing import Any

from tunekit.errors import StoreError
from tunekit.foreign import STATE_BYTES, Unfit, json_of, read_plain
from tunekit.hashing import hex_of
from tunekit.manifest.find import own_folder

_encode = json.JSONEncoder(sort_keys=True).encode
_LABEL = rb'"label": ("(?:[^"\\\n]|\\.)*+")'  # compiled where it is used: `status` reads this module


def path(root: Path) -> Path:
    return root / ".tunekit" / "history.jsonl"


class Pen:
    """Writes lines, through one open file for as long as a build lasts."""

    def __init__(self, root: Path) -> None:
        self._root = root
        self._path = f"{root}/.tunekit/history.jsonl"
        self._fd = -1

    def append(self, label: str, record: dict[str, Any], how: str) -> None:
        """One line; a single write, so that two builds do not mix theirs."""
        line = {
            "t": round(time.time(), 3),
            "label": label,
            "key": record["key"],
            "attempt": record["attempt"],
            "outputs": record["outputs"],
            "how": how,
        }
        if self._fd < 0 or not os.fstat(self._fd).st_nlink:  # somebody moved it away in the meantime
            self.close()
            self._fd = self._open()
        os.write(self._fd, _encode(line).encode() + b"\n")

    def close(self) -> None:
        if self._fd >= 0:
            os.close(self._fd)
            self._fd = -1

    def _open(self) -> int:
        flags = os.O_WRONLY | os.O_CREAT | os.O_APPEND | os.O_CLOEXEC
        try:
            return os.open(self._path, flags, 0o644)
        except FileNotFoundError:
            own_folder(self._root)
            return os.open(self._path, flags, 0o644)


def append(root: Path, label: str, record: dict[str, Any], how: str) -> None:
    """One line by itself."""
    pen = Pen(root)
    try:
        pen.append(label, record, how)
    finally:
        pen.close()


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


class Newest:
    """The newest line of each label, as the file was when it was opened. It is read and searched once, and a line is
    decoded when its label is asked for: a build asks for every label that it executes."""

    def __init__(self, root: Path) -> None:
        try:
            self._data = read_plain(path(root), STATE_BYTES)
        except (OSError, Unfit):
            self._data = b""
        self._places: dict[bytes, list[int]] = {}
        for found in re.finditer(_LABEL, self._data):
            self._places.setdefault(found[1], []).append(found.start())

    def of(self, label: str) -> dict[str, Any] | None:
        """None: there is no line of this label."""
        data = self._data
        for at in reversed(self._places.get(json.dumps(label).encode(), [])):
            begin, stop = data.rfind(b"\n", 0, at) + 1, data.find(b"\n", at)
            try:
                found = json_of(data[begin : stop if stop >= 0 else None])
            except ValueError:
                continue
            if _is_line(found) and found["label"] == label:
                return dict(found)
        return None


def _is_line(found: Any) -> bool:
    """Whether `append` could have written it."""
    try:
        digests = [hex_of(digest) for digest in [found["key"], *found["outputs"].values()]]
        return bool(digests) and all(isinstance(found[name], str) for name in ("label", "attempt"))
    except (ValueError, KeyError, TypeError, AttributeError):
        return False
