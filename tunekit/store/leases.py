"""Leases: only save duplicate work; nothing breaks without them. The kernel releases them when a process dies."""

from __future__ import annotations

import contextlib
import fcntl
import os
from pathlib import Path

from tunekit.hashing import hex_of
from tunekit.store.store import Store


class Lease:
    """A held lease. `release` removes the file, then the lock."""

    def __init__(self, path: Path, fd: int) -> None:
        self._path = path
        self._fd = fd

    def release(self) -> None:
        os.unlink(self._path)
        os.close(self._fd)


def acquire(store: Store, key: str) -> Lease | None:
    """The lease of a key, or None while another process holds it."""
    path = store.root / "leases" / hex_of(key)
    while True:
        fd = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o644)
        try:
            fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            os.close(fd)
            return None
        # the holder before us may have removed the file between our open and our lock
        try:
            same = os.stat(path).st_ino == os.fstat(fd).st_ino
        except FileNotFoundError:
            same = False
        if same:
            with contextlib.suppress(OSError):  # for people who look; a full disk may have no room for it
                os.ftruncate(fd, 0)
                os.write(fd, f"{os.getpid()}\n".encode())
            return Lease(path, fd)
        os.close(fd)


def held(path: Path) -> bool:
    """Whether some process holds this lease file."""
    try:
        fd = os.open(path, os.O_RDWR | os.O_CLOEXEC)
    except FileNotFoundError:
        return False
    try:
        fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return True
    finally:
        os.close(fd)
    return False
