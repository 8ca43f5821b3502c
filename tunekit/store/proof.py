"""Are an action's inputs still what their names say? Disks forget, and a result made of rot would look like any other.

An action's process hashes what it is given: little of it at once, much of it beside the work, in a process of its
own, and before anything is sealed. What is not its name goes into quarantine, and the action fails: the next build
makes or fetches it again. What this build has sealed itself was hashed then, and is not looked at again.
"""

from __future__ import annotations

import os
from collections.abc import Iterable
from pathlib import Path

from tunekit.errors import ActionError
from tunekit.hashing import hex_of, sha256_file
from tunekit.store import artifacts
from tunekit.store.store import Store

AT_ONCE = 4 << 20  # bytes that are hashed in a few ms


class Proof:
    """Of some artifacts. `marks`: a folder in which large objects are noted that this build has looked at; `since`:
    when it began (ns), if it was by then."""

    def __init__(self, store: Store, trees: Iterable[str], marks: Path, since: int | None = None) -> None:
        self._store = store
        self._marks = marks
        sizes = {e.digest: e.size for tree in dict.fromkeys(trees) for e in artifacts.read_tree(store, tree) or []}
        self._objects = {
            d: size
            for d, size in sizes.items()
            if not (marks / hex_of(d)).exists() and not sealed_since(store, d, since)
        }
        self._helper = 0
        if sum(self._objects.values()) <= AT_ONCE:
            raise_for(self._store, self._look())
        else:
            self._helper = os.fork()
            if not self._helper:
                self._child()

    def end(self) -> None:
        """Raises ActionError `corrupt-input` if a byte was wrong. To be called before a result counts."""
        if self._helper:
            _, status = os.waitpid(self._helper, 0)
            self._helper = 0
            if status:
                raise_for(self._store, [d for d in self._objects if not self._store.object(d).exists()])

    def _child(self) -> None:
        status = 70
        try:
            os.nice(5)
            status = int(bool(self._look()))
        finally:
            os._exit(status)

    def _look(self) -> list[str]:
        """Hash every object; the bad ones are put away."""
        bad = []
        for digest, size in self._objects.items():
            if is_bad(self._store, digest):
                bad.append(digest)
            elif size > AT_ONCE:
                self._marks.mkdir(exist_ok=True)
                (self._marks / hex_of(digest)).touch()
        return bad


def sealed_since(store: Store, digest: str, since: int | None) -> bool:
    """Whether an object was put there since then: sealing changes its ctime, and rot changes nothing."""
    if since is None:
        return False
    try:
        return os.stat(store.place("objects", digest)).st_ctime_ns >= since
    except FileNotFoundError:
        return False


def is_bad(store: Store, digest: str) -> bool:
    """Hash an object; a bad one is put away."""
    path = store.object(digest)
    if sha256_file(path) == digest:
        return False
    artifacts.quarantine(store, path)
    return True


def raise_for(store: Store, bad: list[str]) -> None:
    """Raises ActionError `corrupt-input` for bad objects."""
    if bad:
        names = ", ".join(sorted(hex_of(digest)[:12] for digest in bad)[:5])
        raise ActionError(
            f"bytes of its inputs had rotted in the store: {len(bad)} object(s) ({names}); they are in "
            f"{store.root / 'quarantine'}",
            slug="corrupt-input",
            hint="build again: what they were made of runs again; and look at the disk",
        )
