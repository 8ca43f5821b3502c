"""Leases: only save duplicate work; nothing breaks without them. The kernel releases them when a process dies.

The lease of a key is a lock on its staging folder, so that taking one costs no file of its own.
"""

from __future__ import annotations

import contextlib
import fcntl
import os

from tunekit.store.store import Store


class Lease:
    """A held lease. `release` removes the staging folder if nothing is in it, then the lock; again, it does nothing."""

    def __init__(self, folder: str, fd: int) -> None:
        self._folder = folder
        self._fd = fd

    def release(self) -> None:
        if self._fd < 0:
            return
        with contextlib.suppress(OSError):
            os.rmdir(self._folder)
        os.close(self._fd)
        self._fd = -1


def acquire(store: Store, key: str) -> Lease | None:
    """The lease of a key, or None while another process holds it. Makes the staging folder."""
    folder = str(store.staging(key))
    while True:
        fd = _open(folder)
        try:
            fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            os.close(fd)
            return None
        # the holder before us may have removed the folder between our open and our lock
        try:
            same = os.stat(folder).st_ino == os.fstat(fd).st_ino
        except FileNotFoundError:
            same = False
        if same:
            return Lease(folder, fd)
        os.close(fd)


def _open(folder: str) -> int:
    while True:
        with contextlib.suppress(FileExistsError):
            os.mkdir(folder)
        try:
            return os.open(folder, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
        except FileNotFoundError:
            continue  # its holder removed it in this moment


def held(store: Store, key: str) -> bool:
    """Whether some process holds the lease of a key."""
    try:
        fd = os.open(store.staging(key), os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    except FileNotFoundError:
        return False
    try:
        fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return True
    finally:
        os.close(fd)
    return False
