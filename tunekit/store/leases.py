"""Leases: only save duplicate work; nothing breaks without them. The kernel releases them when a process dies.

The lease of a key is a lock on its staging folder, so that taking one costs no file of its own.
"""

from __future__ import annotations

import contextlib
import fcntl
import os
from pathlib import Path

from tunekit.errors import StoreError
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
            _check(store, folder)
            return Lease(folder, fd)
        os.close(fd)


_sound: set[Path] = set()  # stores whose locks are known to lock


def _check(store: Store, folder: str) -> None:
    """Asked once, of a lease that is held: some network file systems grant every lock. StoreError `no-locks`."""
    if store.root in _sound:
        return
    if not held(store, f"sha256:{os.path.basename(folder)}"):
        message = f"the file system of the store {store.root} grants a lock that is held"
        hint = "builds at once would write over each other: set TUNEKIT_STORE to a local disk, or mount it with locks"
        raise StoreError(message, slug="no-locks", hint=hint)
    _sound.add(store.root)


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
