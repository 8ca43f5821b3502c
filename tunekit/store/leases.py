"""Leases: only save duplicate work; nothing breaks without them. The kernel releases them when a process dies.

The lease of a key is a lock on one byte of the store's file `leases` (an open file description lock, Linux 3.15), so
that taking one makes no file. Two keys of the same byte (1 in 2^62) would wait for each other, no more.
"""

from __future__ import annotations

import fcntl
import os
import struct
from pathlib import Path

from tunekit.errors import StoreError
from tunekit.hashing import hex_of
from tunekit.store.store import Store

_FLOCK = "hhqqi4x"  # struct flock: type, whence, start, length, pid


class Lease:
    """A held lease. `release` gives it back; again, it does nothing."""

    def __init__(self, fd: int) -> None:
        self._fd = fd

    def release(self) -> None:
        if self._fd >= 0:
            os.close(self._fd)
            self._fd = -1


def acquire(store: Store, key: str) -> Lease | None:
    """The lease of a key, or None while another process holds it."""
    fd = os.open(_file(store), os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o644)
    try:
        fcntl.fcntl(fd, fcntl.F_OFD_SETLK, _lock(key))
        _check(store, key)
    except BlockingIOError:
        os.close(fd)
        return None
    except BaseException:
        os.close(fd)
        raise
    return Lease(fd)


_sound: set[Path] = set()  # stores whose locks are known to lock


def _check(store: Store, key: str) -> None:
    """Asked once, of a lease that is held: some network file systems grant every lock. StoreError `no-locks`."""
    if store.root in _sound:
        return
    if not held(store, key):
        message = f"the file system of the store {store.root} grants a lock that is held"
        hint = "builds at once would write over each other: set TUNEKIT_STORE to a local disk, or mount it with locks"
        raise StoreError(message, slug="no-locks", hint=hint)
    _sound.add(store.root)


def held(store: Store, key: str) -> bool:
    """Whether some process holds the lease of a key."""
    try:
        fd = os.open(_file(store), os.O_RDONLY | os.O_CLOEXEC)
    except FileNotFoundError:
        return False
    try:
        return bool(struct.unpack(_FLOCK, fcntl.fcntl(fd, fcntl.F_OFD_GETLK, _lock(key)))[0] != fcntl.F_UNLCK)
    finally:
        os.close(fd)


def _file(store: Store) -> str:
    return f"{store.root}/leases"


def _lock(key: str) -> bytes:
    return struct.pack(_FLOCK, fcntl.F_WRLCK, os.SEEK_SET, int(hex_of(key)[:16], 16) >> 2, 1, 0)
