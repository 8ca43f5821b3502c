"""What running builds use: gc keeps it. Each build has one file, locked while it lives, with a line for every action
that begins or ends: an action costs an append, not a file."""

from __future__ import annotations

import fcntl
import json
import os
import time
from collections.abc import Iterator
from typing import NamedTuple

from tunekit.store.store import Store

_NAME = "in-use"


class Use(NamedTuple):
    """An action in flight. `trees`: artifacts that it reads; `parts`: the file that lists those it may copy from."""

    action: str
    key: str
    begun: float  # seconds since the epoch
    trees: list[str]
    parts: str


class Announcer:
    """The build's pen. `folder` is one of the build's own below the store's `tmp/build-*`."""

    def __init__(self, folder: str) -> None:
        flags = os.O_WRONLY | os.O_CREAT | os.O_APPEND | os.O_CLOEXEC
        self._fd = os.open(f"{folder}/{_NAME}", flags, 0o644)
        fcntl.flock(self._fd, fcntl.LOCK_SH)

    def begin(self, action: str, key: str, trees: list[str], parts: str) -> None:
        """To be called before the action's worker may start."""
        self._write(["begin", *Use(action, key, round(time.time(), 3), trees, parts)])

    def end(self, key: str) -> None:
        """When its record is there, or it failed."""
        self._write(["end", key])

    def close(self) -> None:
        os.close(self._fd)

    def _write(self, line: list[object]) -> None:
        left = memoryview(json.dumps(line).encode() + b"\n")
        while left:
            left = left[os.write(self._fd, left) :]


def in_use(store: Store) -> Iterator[Use]:
    """The actions that builds have in flight now, of every build that lives."""
    for path in store.tmp.glob(f"build-*/{_NAME}"):
        try:
            with open(path, "rb") as file:
                if _locked(file.fileno()):
                    yield from _open_ones(file.read())
        except FileNotFoundError:
            continue  # it ended in this moment


def _locked(fd: int) -> bool:
    try:
        fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return True
    return False


def _open_ones(text: bytes) -> Iterator[Use]:
    found: dict[str, Use] = {}
    for line in text.splitlines():
        try:
            what, *rest = json.loads(line)
        except ValueError:
            continue  # the line that is being written now: its action has not begun
        if what == "begin":
            use = Use(*rest)
            found[use.key] = use
        else:
            found.pop(rest[0], None)
    yield from found.values()
