"""Room on the disk: asked for before an action starts, and named when it ran out.

`TUNEKIT_MIN_FREE` (`500MB`, `2GB`, `0`: do not ask) is what must be free on the store's file system.
"""

from __future__ import annotations

import errno
import os
import re
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import NamedTuple

from tunekit.errors import StoreError, UsageError

DEFAULT = "500MB"
_UNITS = {"": 1, "KB": 10**3, "MB": 10**6, "GB": 10**9, "TB": 10**12}
_SIZE = re.compile(r"(\d+(?:\.\d+)?) ?([KMGT]B)?\Z")
# Libraries that write from C++ or Rust say it in their own words, mostly without an errno.
_WORDS = re.compile(
    r"no space left on device|disk quota exceeded|\(os error (28|122)\)"
    r"|not enough free space to write|\d+ requested and \d+ written"  # numpy
    r"|pytorchstreamwriter failed writing|inline_container\.cc",  # torch.save
    re.IGNORECASE,
)
_WAY_OUT = "`tunekit gc --yes` frees what no project refers to; or set TUNEKIT_STORE to a larger disk; then build again"


class Room(NamedTuple):
    """One file system: where it is mounted, and bytes and file entries that this user may still take."""

    mount: str
    free: int
    total: int
    entries: int

    def __str__(self) -> str:
        none = ", no file entry (inode)" if not self.entries else ""
        return f"{self.mount} ({_said(self.free)}{none} free of {_said(self.total)})"


def room(place: str | os.PathLike[str]) -> Room:
    """The file system of a place, or of the nearest folder above it that exists."""
    path = Path(os.path.realpath(place))
    while not path.exists() and path != path.parent:
        path = path.parent
    s = os.statvfs(path)
    while not path.is_mount() and path != path.parent:
        path = path.parent
    entries = s.f_favail if s.f_files else 1  # some file systems count none
    return Room(str(path), s.f_bavail * s.f_frsize, s.f_blocks * s.f_frsize, entries)


def need(place: str | os.PathLike[str]) -> None:
    """Before work begins. StoreError `disk-full` if less is free at `place` than there must be."""
    text = os.environ.get("TUNEKIT_MIN_FREE") or DEFAULT
    found = _SIZE.match(text)
    if not found:
        hint = "a size like `500MB` or `2GB`; `0`: do not ask"
        raise UsageError(f"TUNEKIT_MIN_FREE={text} is not a size", slug="bad-size", hint=hint)
    wanted = float(found[1]) * _UNITS[found[2] or ""]
    s = os.statvfs(place)
    if s.f_bavail * s.f_frsize < wanted:
        message = f"too little room on the file system at {room(place)}: an action starts with {text} free"
        raise StoreError(message, slug="disk-full", hint=f"{_WAY_OUT}. TUNEKIT_MIN_FREE sets the bound")


def ran_out(error: BaseException) -> bool:
    """Whether an error, or what it came from, says that a disk (or a quota) is full."""
    for e in _chain(error):
        if isinstance(e, OSError) and e.errno in (errno.ENOSPC, errno.EDQUOT):
            return True
        if _WORDS.search(str(e)):
            return True
    return False


def full(error: BaseException, places: Iterable[str | os.PathLike[str]]) -> StoreError:
    """The error with a name. Of the places that are written to, and of those that the error names, it tells the
    one with the least room: a failed write does not say where it was."""
    import tempfile

    named = [n for e in _chain(error) if isinstance(e, OSError) for n in (e.filename, e.filename2)]
    rooms = []
    for place in [*places, *(n for n in named if isinstance(n, (str, bytes))), tempfile.gettempdir()]:
        try:
            rooms.append(room(os.fsdecode(place)))
        except OSError:
            continue
    worst = min(rooms, key=lambda r: (r.entries > 0, r.free))
    message = f"no room on the file system at {worst}: {type(error).__name__}: {error}"
    return StoreError(message, slug="disk-full", hint=_WAY_OUT)


def _chain(error: BaseException) -> Iterator[BaseException]:
    seen: set[int] = set()
    stack: list[BaseException | None] = [error]
    while stack:
        e = stack.pop()
        if e is not None and id(e) not in seen:
            seen.add(id(e))
            yield e
            stack += [e.__cause__, e.__context__]


def _said(size: int) -> str:
    unit = next((u for u in ("TB", "GB", "MB") if size >= _UNITS[u]), "KB")
    return f"{size / _UNITS[unit]:.3g} {unit}"
