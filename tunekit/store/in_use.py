"""What running builds use: gc keeps it. Each build has one file, locked while it lives, with a line for every action
that begins or ends: an action costs an append, not a file."""

from __future__ import annotations

import fcntl
import json
import math
import os
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import NamedTuple

from tunekit.foreign import json_of
from tunekit.hashing import hex_of
from tunekit.protocol import Request
from tunekit.store.store import Store

_NAME = "in-use"


class Use(NamedTuple):
    """An action in flight. `trees`: artifacts that it reads; `parts`: those it may copy from, as
    `tunekit.parts.listed` takes them. Without a key: what a build keeps from its first action to its end."""

    action: str
    key: str
    begun: float  # seconds since the epoch
    trees: list[str]
    parts: str


class Announcer:
    """The build's pen. `home` gives a folder of the build's own (`tmp/build-*`) when there is something to write."""

    def __init__(self, home: Callable[[], Path]) -> None:
        self._home = home
        self._fd = -1

    def begin(self, request: Request) -> None:
        """To be called before the action's worker may start."""
        trees = [found.digest for items in request.inputs.values() for found in items]
        self._write(["begin", *Use(request.action, request.key, round(time.time(), 3), trees, request.previous)])

    def keep(self, tree: str) -> None:
        """An artifact that stays as long as the build (a snapshot of code, which its actions share)."""
        self._write(["keep", tree])

    def end(self, key: str) -> None:
        """When its record is there, or it failed."""
        self._write(["end", key])

    def close(self) -> None:
        if self._fd >= 0:
            os.close(self._fd)

    def _write(self, line: list[object]) -> None:
        if self._fd < 0:
            flags = os.O_WRONLY | os.O_CREAT | os.O_APPEND | os.O_CLOEXEC
            self._fd = os.open(self._home() / _NAME, flags, 0o644)
            fcntl.flock(self._fd, fcntl.LOCK_SH)
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
            what, *rest = json_of(line)
            if what == "begin":
                use = Use(*rest)
                found[hex_of(use.key)] = Use(use.action, use.key, float(use.begun), _digests(use.trees), str(use.parts))
            elif what == "keep":
                found.setdefault("", Use("code", "", math.inf, [], "")).trees.extend(_digests(rest))
            else:
                found.pop(hex_of(rest[0]), None)
        except (ValueError, TypeError, LookupError, AttributeError):
            continue  # the line that is being written now: its action has not begun
    yield from found.values()


def _digests(found: list[str]) -> list[str]:
    return ["sha256:" + hex_of(digest) for digest in found]
