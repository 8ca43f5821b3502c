"""A remote that is a folder: of this machine, or mounted. Published as the store publishes: hashed as they are
copied, under temporary names, made durable together, then renamed."""

from __future__ import annotations

import contextlib
import hashlib
import os
import time
from collections.abc import Callable, Iterator
from pathlib import Path

from tunekit.errors import RemoteError
from tunekit.hashing import PREFIX
from tunekit.share.remote_place import BLOCK, SMALL, Item, Outcome, denied, halt_if, unreachable
from tunekit.store.arrivals import flush, flush_names, name_file
from tunekit.store.disk import write_new

_LEFT = 86400.0  # what a killed push left under a temporary name goes after a day


class Folder:
    """`place` is the folder; `tmp/` in it holds what has no name yet."""

    writable = True
    halted = False

    def __init__(self, place: Path) -> None:
        self.url = str(place)
        self._base = str(place)
        self._tmp = f"{place}/tmp"
        self._waiting: list[tuple[str, str]] = []
        self._opened = False

    # -- reading -------------------------------------------------------------------------------

    def read(self, names: list[str]) -> dict[str, bytes]:
        found = {}
        self._must_be_there()
        for name in names:
            try:
                with open(f"{self._base}/{name}", "rb") as file:
                    data = file.read(SMALL + 1)
            except FileNotFoundError:
                continue
            except PermissionError as e:
                raise denied(self.url, e) from e
            except OSError as e:
                raise unreachable(self.url, e) from e
            if len(data) <= SMALL:
                found[name] = data
        return found

    def sizes(self, names: list[str]) -> dict[str, int]:
        found = {}
        for name in names:
            with contextlib.suppress(FileNotFoundError, NotADirectoryError):
                found[name] = os.stat(f"{self._base}/{name}").st_size
        return found

    def get(self, items: list[Item]) -> Iterator[Outcome]:
        self._must_be_there()
        for item in items:
            try:
                digest, size = copy_hashed(f"{self._base}/{item.name}", item.path, item.size, lambda: halt_if(self))
            except FileNotFoundError:
                yield Outcome(item, "is not there", lost=True)
                continue
            yield Outcome(item, fault_of(item, digest, size))

    def _must_be_there(self) -> None:
        if not os.path.isdir(self._base):
            hint = "mount it, or push to it first; `--offline` builds without it"
            what = "is not a folder" if os.path.exists(self._base) else "is not there"
            raise RemoteError(f"the remote {self.url} {what}", slug="remote-unreachable", hint=hint)

    # -- writing -------------------------------------------------------------------------------

    def put(self, items: list[Item]) -> Iterator[Outcome]:
        self.open()
        for item in items:
            spare = f"{self._tmp}/{os.getpid()}-{os.urandom(8).hex()}"
            try:
                digest, size = copy_hashed(item.path, spare, item.size)
            except FileNotFoundError:
                yield Outcome(item, "is not in the store", lost=True)
                continue
            except OSError as e:
                raise self._unwritable(e) from e
            fault = fault_of(item, digest, size)
            if fault:
                os.unlink(spare)
            else:
                self._waiting.append((spare, f"{self._base}/{item.name}"))
            yield Outcome(item, fault)

    def settle(self) -> None:
        waiting, self._waiting = self._waiting, []
        try:
            flush([spare for spare, _ in waiting], self._base)
            for spare, target in waiting:
                name_file(spare, target)
            flush_names({os.path.dirname(target) for _, target in waiting}, self._base)
        except OSError as e:
            raise self._unwritable(e) from e

    def put_new(self, name: str, data: bytes) -> bool:
        self.open()
        try:
            return write_new(f"{self._base}/{name}", data, Path(self._tmp))
        except OSError as e:
            raise self._unwritable(e) from e

    def replace(self, name: str, data: bytes) -> None:
        self.open()
        spare = f"{self._tmp}/{os.getpid()}-{os.urandom(8).hex()}"
        try:
            Path(spare).write_bytes(data)
            name_file(spare, f"{self._base}/{name}")
        except OSError as e:
            raise self._unwritable(e) from e

    def open(self) -> None:
        """Once: the folders, and what was left of pushes that were killed."""
        if self._opened:
            return
        self._opened = True
        try:
            os.makedirs(self._tmp, exist_ok=True)
            for left in os.scandir(self._tmp):
                with contextlib.suppress(FileNotFoundError):
                    if time.time() - left.stat().st_mtime > _LEFT:
                        os.unlink(left.path)
        except OSError as e:
            raise self._unwritable(e) from e

    def _unwritable(self, e: OSError) -> RemoteError:
        hint = "make room there, or look at its permissions; what arrived is kept"
        return RemoteError(f"the remote {self.url} cannot be written: {e.strerror}", slug="remote-denied", hint=hint)


def copy_hashed(source: str, target: str, limit: int, between: Callable[[], None] = lambda: None) -> tuple[str, int]:
    """Copy a file of at most `limit` bytes to a new one (0444), hashing it on the way: its digest and size. One that
    is longer is read for one byte more. `between`: called between two blocks."""
    h, size = hashlib.sha256(), 0
    come = os.open(source, os.O_RDONLY | os.O_CLOEXEC)
    try:
        go = os.open(target, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o444)
        try:
            while size <= limit and (block := os.read(come, min(BLOCK, limit + 1 - size))):
                between()
                h.update(block)
                size += len(block)
                left = memoryview(block)
                while left:
                    left = left[os.write(go, left) :]
        finally:
            os.close(go)
    finally:
        os.close(come)
    return PREFIX + h.hexdigest(), size


def fault_of(item: Item, digest: str, size: int) -> str:
    """Empty if these are the bytes that an item stands for."""
    if size < item.size:
        return f"ends after {size} of its {item.size} bytes"
    if size > item.size:
        return f"is longer than its {item.size} bytes"
    return "" if digest == item.digest else "has other bytes than its name says"
