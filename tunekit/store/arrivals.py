"""Files on their way into a store: written under temporary names, made durable together, then named.

Ten thousand small files cost one flush of the file system, not ten thousand.
"""

from __future__ import annotations

import contextlib
import ctypes
import os
from collections.abc import Iterable
from functools import cache
from pathlib import Path
from typing import Any

from tunekit.store.artifacts import quarantine
from tunekit.store.disk import fsync_dir
from tunekit.store.store import Store

_FEW = 16  # so many files are flushed one by one


class Arrivals:
    """New objects of a store. The caller has checked their bytes; until `settle` they have no name."""

    def __init__(self, store: Store) -> None:
        self._store = store
        self._waiting: list[tuple[str, str, int]] = []
        self._count = 0
        self.size = 0

    def __len__(self) -> int:
        return len(self._waiting)

    def spare(self) -> str:
        """A temporary path on the store's file system; gc knows by its name whether its process still runs."""
        self._count += 1
        return f"{self._store.tmp}/{os.getpid()}-{os.urandom(6).hex()}-{self._count}"

    def take(self, path: str, digest: str, size: int) -> None:
        """A whole file under a temporary path whose bytes have this digest."""
        self._waiting.append((path, digest, size))
        self.size += size

    def settle(self) -> None:
        """Name everything that was taken: what is durable and complete, or nothing of it."""
        waiting, self._waiting, self.size = self._waiting, [], 0
        flush([path for path, _, _ in waiting], self._store.tmp)
        folders: set[str] = set()
        for path, digest, size in waiting:
            target = self._store.place("objects", digest)
            if not self._there(target, size):
                name_file(path, target)
                folders.add(os.path.dirname(target))
            else:
                os.unlink(path)
        flush_names(folders, self._store.tmp)

    def drop(self) -> None:
        """Forget what has no name yet."""
        for path, _, _ in self._waiting:
            with contextlib.suppress(FileNotFoundError):
                os.unlink(path)
        self._waiting = []

    def _there(self, target: str, size: int) -> bool:
        try:
            if os.stat(target).st_size == size:
                return True
        except FileNotFoundError:
            return False
        quarantine(self._store, Path(target))  # a torn or edited object of that name: ours is the right one
        return False


def name_file(path: str, target: str) -> None:
    """Rename, into a folder that may not be there yet."""
    try:
        os.rename(path, target)
    except FileNotFoundError:
        os.makedirs(os.path.dirname(target), exist_ok=True)
        os.rename(path, target)


def flush(paths: list[str], root: str | os.PathLike[str]) -> None:
    """Make the bytes of files below `root` durable: few of them one by one, many with their whole file system."""
    if len(paths) > _FEW and _sync_file_system(root):
        return
    for path in paths:
        fd = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
        try:
            os.fsync(fd)
        finally:
            os.close(fd)


def flush_names(folders: Iterable[str], root: str | os.PathLike[str]) -> None:
    """Make names in folders below `root` durable."""
    names = sorted(folders)
    if len(names) > _FEW and _sync_file_system(root):
        return
    for folder in names:
        fsync_dir(folder)


@cache
def _libc() -> Any:
    return ctypes.CDLL(None, use_errno=True)


def _sync_file_system(root: str | os.PathLike[str]) -> bool:
    """syncfs(2); False where the system has none."""
    call = getattr(_libc(), "syncfs", None)
    if call is None:
        return False
    fd = os.open(root, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        if call(fd):
            raise OSError(ctypes.get_errno(), "syncfs failed", str(root))
    finally:
        os.close(fd)
    return True
