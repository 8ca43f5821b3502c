"""Durable writes. Every byte that is published goes through here."""

from __future__ import annotations

import contextlib
import os
import stat
from collections.abc import Iterator
from pathlib import Path


def fsync_dir(path: str | Path) -> None:
    fd = os.open(path, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        os.fsync(fd)
    finally:
        os.close(fd)


def write_new(path: str | Path, data: bytes, tmp: Path) -> bool:
    """Publish `data` as a new file, all or nothing; False if the name is taken (then nothing changes).

    The temporary file lies in `tmp` (same file system) and is linked into place, so a reader sees it whole.
    """
    spare = f"{tmp}/{os.getpid()}-{os.urandom(6).hex()}"
    try:
        with new_file(spare, data) as fd:
            os.fsync(fd)
        try:
            os.link(spare, path)
        except FileNotFoundError:
            os.makedirs(os.path.dirname(path), exist_ok=True)
            os.link(spare, path)
        fsync_dir(os.path.dirname(path))
        return True
    except FileExistsError:
        return False
    finally:
        os.unlink(spare)


@contextlib.contextmanager
def new_file(path: str, data: bytes, mode: int = 0o444, clash: int = os.O_EXCL) -> Iterator[int]:
    """A file that holds `data`, still open (what is left is to flush it); its folder is made if it is missing.
    `clash`: what becomes of a file that is there: FileExistsError, or O_TRUNC."""
    flags = os.O_WRONLY | os.O_CREAT | os.O_CLOEXEC | clash  # `open` would ask the system three more questions
    try:
        fd = os.open(path, flags, mode)
    except FileNotFoundError:
        os.makedirs(os.path.dirname(path), exist_ok=True)
        fd = os.open(path, flags, mode)
    try:
        write_all(fd, data)
        yield fd
    finally:
        os.close(fd)


@contextlib.contextmanager
def filled(path: str, data: bytes) -> Iterator[int]:
    """An empty file of ours that another process has made, with `data` in it now; still open. FileNotFoundError if it
    is not there, not empty, or not ours alone."""
    try:
        fd = os.open(path, os.O_WRONLY | os.O_CLOEXEC | os.O_NOFOLLOW)
    except OSError as e:  # a link, a folder
        raise FileNotFoundError(path) from e
    try:
        info = os.fstat(fd)
        if not stat.S_ISREG(info.st_mode) or info.st_size or info.st_nlink != 1:
            raise FileNotFoundError(path)
        os.fchmod(fd, 0o444)
        write_all(fd, data)
        yield fd
    finally:
        os.close(fd)


def write_all(fd: int, data: bytes) -> None:
    left = memoryview(data)
    while left:
        left = left[os.write(fd, left) :]


def read_file(path: str) -> bytes:
    """A small file's bytes. A file object would ask the system five more questions about it."""
    fd = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
    try:
        data = os.read(fd, 1 << 16)
        while more := os.read(fd, 1 << 20):
            data += more
        return data
    finally:
        os.close(fd)


def replace(path: str | Path, data: bytes) -> None:
    """Write a cache file atomically (last writer wins). Not fsynced: it can be rebuilt, and its reader checks it."""
    folder, slash, name = str(path).rpartition("/")
    spare = f"{folder}{slash}.{name}.{os.getpid()}"
    try:
        with new_file(spare, data, 0o644, os.O_TRUNC):
            pass
        os.replace(spare, path)
    except OSError:  # a full disk needs no torn file on top
        with contextlib.suppress(OSError):
            os.unlink(spare)
        raise
