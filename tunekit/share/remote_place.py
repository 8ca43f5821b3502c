"""Where a remote's blobs lie: `ac/<hex>`, `cas/<hex>` and `parts/<hex>` under one URL (docs/remote.md)."""

from __future__ import annotations

import re
from collections.abc import Iterable
from typing import NamedTuple, Protocol

from tunekit.errors import RemoteError
from tunekit.hashing import hex_of

BATCH_FILES, BATCH_BYTES = 4096, 4 << 30  # so much comes or goes before it is made durable and named
SMALL = 64 << 20  # records, lists of files and of parts: larger is not one of ours
BLOCK = 1 << 20
ATTEMPT = re.compile(r"[0-9A-Za-z]{1,32}(-[0-9a-z]{1,32}){0,3}\Z")


class Item(NamedTuple):
    """A file of this machine and its name at the place."""

    name: str
    path: str
    size: int
    digest: str


class Outcome(NamedTuple):
    """What became of an item: `fault` is empty, or says why it was not carried over. `lost`: it is not at the place
    (or not here) at all; else it was there and was not what its name says."""

    item: Item
    fault: str = ""
    lost: bool = False


class Place(Protocol):
    """Raises RemoteError where the place as a whole cannot be used: `remote-unreachable`, `remote-denied`, …"""

    url: str
    writable: bool
    halted: bool  # set by another thread: `get` ends soon, with RemoteError `halted`

    def open(self) -> None:
        """Make ready to be written to: a folder is made."""
        ...

    def read(self, names: list[str]) -> dict[str, bytes]:
        """Small blobs, in one batch; those that are not there, or larger than SMALL, are left out."""
        ...

    def get(self, items: list[Item]) -> Iterable[Outcome]:
        """Write each blob to its path, a new file with mode 0444, never more than its size. As they end."""
        ...

    def sizes(self, names: list[str]) -> dict[str, int]:
        """Of those that are there."""
        ...

    def put(self, items: list[Item]) -> Iterable[Outcome]:
        """Carry files over, as they end; one whose bytes are not its digest gets no name there. Durable after
        `settle`."""
        ...

    def settle(self) -> None: ...

    def put_new(self, name: str, data: bytes) -> bool:
        """A small blob under a name that is free; False if it is taken (then nothing changes)."""
        ...

    def replace(self, name: str, data: bytes) -> None:
        """A small blob that is only a hint: the last writer wins."""
        ...


def entry(key: str) -> str:
    return "ac/" + hex_of(key)


def attempt_entry(key: str, attempt: str | int) -> str:
    """Of an attempt that a lock promotes, where `entry` is another's; empty for a name that none has."""
    return f"{entry(key)}.{attempt}" if isinstance(attempt, str) and ATTEMPT.match(attempt) else ""


def blob(digest: str) -> str:
    return "cas/" + hex_of(digest)


def hints(base: str) -> str:
    return "parts/" + hex_of(base)


def unreachable(url: str, error: BaseException) -> RemoteError:
    what = f"{type(error).__name__}: {error}" if str(error) else type(error).__name__
    return RemoteError(f"the remote {url} cannot be reached ({what[:300]})", slug="remote-unreachable",
                       hint="look at the URL and the network; `--offline` builds without it")  # fmt: skip


def denied(url: str, error: BaseException) -> RemoteError:
    return RemoteError(f"the remote {url} refuses this user ({str(error)[:300]})", slug="remote-denied",
                       hint="writers need credentials, in the environment or in the cloud's own files")  # fmt: skip


def halt_if(place: Place) -> None:
    if place.halted:
        raise RemoteError(f"the remote {place.url} is not asked any more", slug="halted")


def read_only(url: str) -> RemoteError:
    return RemoteError(f"the remote {url} is served over HTTP: it can only be read", slug="remote-read-only",
                       hint="push to the folder or bucket behind it")  # fmt: skip
