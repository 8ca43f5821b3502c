"""One remote file into `<cache>/archives/<sha256>`: goes on where it stopped, tried again a bounded number of times,
verified, complete or not there at all.

What has come so far lies in `<cache>/coming/<digest of its name>`, with the stamp of the version it is a part of beside
it: a killed download goes on from there if the server still has that version, and one process at a time adds to it.
"""

from __future__ import annotations

import contextlib
import fcntl
import hashlib
import os
import time
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager
from pathlib import Path
from typing import BinaryIO, NamedTuple

from tunekit.diskspace import need, ran_out
from tunekit.errors import SourceError
from tunekit.hashing import PREFIX
from tunekit.sources.deliver import BLOCK, Progress
from tunekit.sources.download import cached_archive

TRIES = 5  # in a row that bring less than ENOUGH
ENOUGH = 1 << 20
FIRST_WAIT = 0.5  # seconds, doubled each time
LONGEST_WAIT = 60.0  # a server that asks for more is reported, not waited for
SMALL = 64 << 20  # what is pinned but has another size is fetched up to here, to say its digest
_KEPT = 7 * 86400  # seconds that a part of a file waits for the rest


class Answer(NamedTuple):
    """`start`: where the blocks begin; `size`: of the whole file, None if unsaid; `stamp`: names this version of it
    exactly, "" if nothing does."""

    start: int
    size: int | None
    stamp: str
    blocks: Iterator[bytes]


class Again(Exception):
    """The request failed in a way that may pass. `wait`: seconds that the server asks for; `afresh`: what has come is
    of no use."""

    def __init__(self, slug: str, why: str, wait: float | None = None, *, afresh: bool = False) -> None:
        super().__init__(why)
        self.slug = slug
        self.why = why
        self.wait = wait
        self.afresh = afresh


class Pin(NamedTuple):
    """What the lock says of the file."""

    size: int
    sha256: str


# (bytes that are there, stamp of their version) → the rest of that version, or all of the present one
Ask = Callable[[int, str], AbstractContextManager[Answer]]


def fetch(what: str, name: str, ask: Ask, cache: Path, progress: Progress, pin: Pin | None = None) -> tuple[Path, str]:
    """The file, and its digest. `what`: for messages; `name`: of the remote file, the same for the same one.

    SourceError: `source-changed` if it is not what the pin says, `source-cache`, and the slug of the last `Again`.
    """
    if pin is not None and (found := cached_archive(cache, pin.sha256)):
        return found, pin.sha256
    try:
        return _fetch(what, name, ask, cache, progress, pin)
    except OSError as e:
        if ran_out(e):
            raise
        message = f"{what}: the cache in {cache} cannot be used ({e})"
        raise SourceError(
            message, slug="source-cache", hint="TUNEKIT_STORE names a folder that you may write to"
        ) from e


def _fetch(what: str, name: str, ask: Ask, cache: Path, progress: Progress, pin: Pin | None) -> tuple[Path, str]:
    with _opened(cache, name, "" if pin is None else pin.sha256) as part:
        if pin is not None and (found := cached_archive(cache, pin.sha256)):  # another process was quicker
            return found, pin.sha256
        _with_tries(what, ask, part, progress, pin)
        if pin is not None and part.sha256 != pin.sha256 and part.is_pieced:  # of two versions, maybe
            part.restart()
            _with_tries(what, ask, part, progress, pin)
        if pin is not None and part.sha256 != pin.sha256:
            part.remove()
            raise _changed(what, pin, part.size, part.sha256)
        return part.publish(cache / "archives")


def _with_tries(what: str, ask: Ask, part: _Part, progress: Progress, pin: Pin | None) -> None:
    failed = 0
    while True:
        before = part.size
        try:
            _once(what, ask, part, progress, pin)
            return
        except Again as e:
            failed = 1 if part.size - before >= ENOUGH else failed + 1
            if e.afresh:
                part.restart()
            wait = FIRST_WAIT * 2 ** (failed - 1) if e.wait is None else e.wait
            if failed >= TRIES or wait > LONGEST_WAIT:
                raise _given_up(what, e, failed) from e
            time.sleep(wait)


def _once(what: str, ask: Ask, part: _Part, progress: Progress, pin: Pin | None) -> None:
    if pin is not None and part.size == pin.size:
        return
    start = part.size if part.stamp or pin else 0  # else nothing tells whether the rest is of the same version
    with ask(start, part.stamp) as answer:
        part.go_on(answer.start, answer.stamp)
        size = answer.size
        total = (pin.size if pin else 0) if size is None else size
        _refuse_larger(what, pin, total)
        progress(part.size, max(total, part.size), "bytes")
        for block in answer.blocks:
            part.add(block)
            progress(part.size, max(total, part.size), "bytes")
            _refuse_larger(what, pin, part.size)
    if size is not None and part.size < size:
        raise Again("download-failed", f"the connection was cut after {part.size} of {size} bytes")
    if size is not None and part.size > size:
        raise Again("download-failed", f"more than the {size} bytes came that were announced", afresh=True)


class _Part:
    """What has come of one file."""

    def __init__(self, path: Path, stream: BinaryIO) -> None:
        self._path = path
        self._stamp = path.with_suffix(".stamp")
        self._stream = stream
        self._hash = hashlib.sha256()
        self._room = 0
        self.is_pieced = False
        self.size = 0
        while block := stream.read(BLOCK):
            self._hash.update(block)
            self.size += len(block)
        self.stamp = self._stamp.read_text() if self._stamp.is_file() else ""

    @property
    def sha256(self) -> str:
        return PREFIX + self._hash.hexdigest()

    def go_on(self, start: int, stamp: str) -> None:
        """Bytes from `start` on follow; if that is not where we are, from the beginning."""
        if start != self.size:
            if start:
                raise Again("download-failed", f"bytes from {start} on came, which were not asked for", afresh=True)
            self.restart()
        self.is_pieced = start > 0
        if stamp != self.stamp:
            self.stamp = stamp
            self._stamp.write_text(stamp)

    def add(self, block: bytes) -> None:
        if self._room <= 0:
            need(self._path.parent)
            self._room = SMALL
        self._room -= len(block)
        self._stream.write(block)
        self._hash.update(block)
        self.size += len(block)

    def restart(self) -> None:
        self._stream.seek(0)
        self._stream.truncate()
        self._hash = hashlib.sha256()
        self.size = 0
        self.stamp = ""
        self._stamp.unlink(missing_ok=True)

    def publish(self, folder: Path) -> tuple[Path, str]:
        self._stream.flush()
        os.fsync(self._stream.fileno())
        folder.mkdir(parents=True, exist_ok=True)
        target = folder / self._hash.hexdigest()
        os.chmod(self._path, 0o444)
        os.replace(self._path, target)
        self._stamp.unlink(missing_ok=True)
        return target, self.sha256

    def remove(self) -> None:
        self._path.unlink(missing_ok=True)
        self._stamp.unlink(missing_ok=True)


@contextlib.contextmanager
def _opened(cache: Path, name: str, pinned: str) -> Iterator[_Part]:
    """The part of a file, ours alone until the end."""
    folder = cache / "coming"
    folder.mkdir(parents=True, exist_ok=True)
    _sweep(folder)
    path = folder / hashlib.sha256(f"{name}\0{pinned}".encode()).hexdigest()[:40]
    with open(path.with_suffix(".turn"), "w") as turn:
        fcntl.flock(turn, fcntl.LOCK_EX)
        with open(path, "r+b" if path.exists() else "w+b") as stream:
            yield _Part(path, stream)


def _sweep(folder: Path) -> None:
    """Remove what nobody came back for."""
    for path in folder.iterdir():
        with contextlib.suppress(OSError):
            if time.time() - path.stat().st_mtime > _KEPT:
                path.unlink()


def _given_up(what: str, e: Again, failed: int) -> SourceError:
    times = "once" if failed == 1 else f"{failed} times"
    if e.wait is not None and e.wait > LONGEST_WAIT:
        hint = f"it asks to wait {e.wait:.0f} s: try again then; what has come is kept"
    else:
        hint = f"tried {times} in a row; try again later: what has come is kept"
    return SourceError(f"{what}: {e.why}", slug=e.slug, hint=hint)


def _refuse_larger(what: str, pin: Pin | None, size: int) -> None:
    if pin is not None and size > max(pin.size, SMALL):
        raise _changed(what, pin, size, "")


def _changed(what: str, pin: Pin, size: int, sha256: str) -> SourceError:
    there = f"{size} bytes, {sha256}" if sha256 else f"{size} bytes or more"
    message = f"{what} is not what the lock pins: it pins {pin.size} bytes, {pin.sha256}; there is {there}"
    hint = "`tunekit lock --upgrade SOURCE` pins what is there now; restore the old bytes to keep the pin"
    return SourceError(message, slug="source-changed", hint=hint)
