"""Bytes into an artifact's directory, never more and never other than the block says."""

from __future__ import annotations

import hashlib
import os
from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple, Protocol

from tunekit.errors import SourceError
from tunekit.hashing import PREFIX
from tunekit.lockfile import FileEntry, bad_path

BLOCK = 1 << 18  # what is read once is hashed and written while the processor has it near

# done, total, unit: `Events.progress` fits
Progress = Callable[[int, int, str], None]


def no_warning(text: str) -> None:
    """For callers that do not listen."""


class Place(NamedTuple):
    """Where a source is read from. `root`: the project, the only place of `path:`. `cache`: folder of downloaded
    archives (a hub's files go into the hub's own). `offline`: what is in a cache must do. `warn` takes what a person
    should know of a source that is used all the same."""

    root: Path
    cache: Path
    offline: bool
    warn: Callable[[str], None] = no_warning


class Readable(Protocol):
    def read(self, size: int, /) -> bytes: ...


def no_progress(done: int, total: int, unit: str) -> None:
    """For callers that do not ask."""


def digest_stream(stream: Readable, size: int, what: str) -> str:
    """sha256 of a stream that must hold exactly `size` bytes; reads one byte more at most.

    SourceError `archive-unsafe` if it is shorter or longer than declared.
    """
    h = hashlib.sha256()
    left = size
    while block := stream.read(min(BLOCK, left + 1)):
        left -= len(block)
        h.update(block)
        if left < 0:
            break
    if left:
        raise SourceError(f"{what} does not have the {size} bytes that it declares", slug="archive-unsafe")
    return PREFIX + h.hexdigest()


def deliver(stream: Readable, entry: FileEntry, out_dir: Path, what: str) -> None:
    """Write one file of a block under `out_dir`; nothing is left of it if it is not what the block says.

    SourceError `source-changed`. The file must not exist; its mode is the umask's, never executable.
    """
    if reason := bad_path(entry.path):
        raise SourceError(f"{what}: file name {entry.path!r} {reason}", slug="path-outside-project")
    target = out_dir / entry.path
    target.parent.mkdir(parents=True, exist_ok=True)
    h = hashlib.sha256()
    left = entry.size
    fd = os.open(target, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC, 0o666)
    with open(fd, "wb") as f:
        while left >= 0 and (block := stream.read(min(BLOCK, left + 1))):
            left -= len(block)
            h.update(block)
            f.write(block)
    if left or PREFIX + h.hexdigest() != entry.sha256:
        target.unlink()
        raise changed(f"{what}: `{entry.path}` is not what the lock says")


def changed(message: str) -> SourceError:
    hint = "`tunekit lock` pins what is there now; restore the old bytes to keep the pin"
    return SourceError(message, slug="source-changed", hint=hint)
