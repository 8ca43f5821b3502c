"""The remote cache: what other machines made of the same keys. See docs/remote.md.

Nothing that comes from it is believed: a record must be one of its key, a list of files and a file must have the
digest that names them. What is not is left there, reported, and made anew by executing.
"""

from __future__ import annotations

import contextlib
import os
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

from tunekit import diskspace
from tunekit.errors import RemoteError
from tunekit.hashing import hex_of, sha256_bytes
from tunekit.parts import Made
from tunekit.plan.remote import Promoted
from tunekit.share.remote_place import BATCH_BYTES, BATCH_FILES, Item, Place, attempt_entry, blob, entry, hints
from tunekit.share.remote_record import incoming
from tunekit.share.remote_tree import entries_of
from tunekit.store import artifacts
from tunekit.store.arrivals import Arrivals
from tunekit.store.store import Store

Warn = Callable[[str, str], None]  # slug, message
Say = Callable[[int, int], None]


def open_place(url: str, root: Path) -> Place:
    """The place behind a URL. A path counts from `root`. UsageError for a scheme that nothing here reads."""
    scheme, sep, rest = url.partition("://")
    if not sep or scheme == "file":
        from tunekit.share.remote_folder import Folder

        return Folder(Path(os.path.normpath(root / os.path.expanduser(rest if sep else url))))
    if scheme in ("http", "https"):
        from tunekit.share.remote_web import Web

        return Web(url)
    from tunekit.share.remote_bucket import Bucket

    return Bucket(url)


class Remote:
    """Reads a place. After its first failure it answers as an empty one, unless it is `required`."""

    def __init__(self, place: Place, warn: Warn, *, required: bool = False) -> None:
        self.place = place
        self.url = place.url
        self._warn = warn
        self._required = required
        self._down = False

    # -- what there is ---------------------------------------------------------------------------

    def lookup(self, keys: list[str], promoted: Promoted) -> dict[str, dict[str, Any]]:
        chosen = {key: block for key in keys if (block := promoted(key)) is not None}
        names = {name: key for key in keys for name in [entry(key)]}
        names |= {name: key for key, block in chosen.items() if (name := attempt_entry(key, block.attempt))}
        found: dict[str, dict[str, Any]] = {}
        for name, data in self._read({name: name for name in names}).items():
            key = names[name]
            record = incoming(data, key)
            if record is None:
                self._unsound(f"its entry {name} is not a record of that key")
            elif key not in found or record["outputs"] == chosen[key].outputs:
                found[key] = record
        return found

    def have(self, trees: list[str]) -> set[str]:
        return set(self._lists(trees))

    def parts(self, bases: list[str]) -> list[Made]:
        found: list[Made] = []
        for base, data in self._read({base: hints(base) for base in dict.fromkeys(bases)}).items():
            found += [made for made in read_hints(data) if made.base == base]
        return found

    def small(self, store: Store, digests: list[str]) -> None:
        """Bring single small objects (histories of metrics) into the store, those that can be had."""
        for digest, data in self._read({digest: blob(digest) for digest in digests}).items():
            if sha256_bytes(data) == digest:
                artifacts.add_bytes(store, data)
            else:
                self._unsound(f"its object {blob(digest)} has other bytes than its name says")

    # -- fetching --------------------------------------------------------------------------------

    def fetch(self, store: Store, trees: list[str], say: Say) -> dict[str, str]:
        wanted = list(dict.fromkeys(trees))
        known = {tree: entries for tree in wanted if (entries := artifacts.read_tree(store, tree)) is not None}
        lists = self._lists([tree for tree in wanted if tree not in known])
        known |= lists
        gone = [tree for tree in wanted if tree not in known]
        faults = {tree: f"the remote does not have its list of files ({blob(tree)})" for tree in gone}
        users: dict[str, list[str]] = {}
        needed: dict[str, Item] = {}
        for tree, entries in known.items():
            for e in entries:
                users.setdefault(e.digest, []).append(tree)
                if e.digest not in needed and not _stored(store, e):
                    needed[e.digest] = Item(blob(e.digest), "", e.size, e.digest)
        with self._failing():
            for digest, fault in self._objects(store, list(needed.values()), say):
                faults |= {tree: fault for tree in users[digest]}
        for tree, entries in known.items():
            if tree not in faults and not all(_stored(store, e) for e in entries):
                faults[tree] = "the remote could not be reached any more"
            elif tree not in faults and tree in lists:
                artifacts.write_tree(store, entries)
        return faults

    def _objects(self, store: Store, items: list[Item], say: Say) -> Iterator[tuple[str, str]]:
        """Fetch objects; yields those that could not be had, with why. What arrives is named batch by batch, so that
        a kill loses little."""
        if not items or self._down:
            return
        total, done = sum(item.size for item in items), 0
        diskspace.need(store.root)
        arrivals = Arrivals(store)
        placed = [item._replace(path=arrivals.spare()) for item in sorted(items, key=lambda i: -i.size)]
        try:
            for outcome in self.place.get(placed):
                item = outcome.item
                done += item.size
                if outcome.fault:
                    _remove(item.path)
                    fault = f"the remote's object {item.name} {outcome.fault}"
                    if not outcome.lost:
                        self._unsound(f"its object {item.name} {outcome.fault}")
                    yield item.digest, fault
                else:
                    arrivals.take(item.path, item.digest, item.size)
                say(done, total)
                if len(arrivals) >= BATCH_FILES or arrivals.size >= BATCH_BYTES:
                    arrivals.settle()
            arrivals.settle()
        except RemoteError:
            arrivals.settle()  # what did arrive is kept
            raise
        finally:
            arrivals.drop()
            for item in placed:
                _remove(item.path)

    def halt(self) -> None:
        self.place.halted = self._down = True

    # -- how it fails ----------------------------------------------------------------------------

    def _lists(self, trees: list[str]) -> dict[str, list[artifacts.Entry]]:
        found = {}
        for tree, data in self._read({tree: blob(tree) for tree in trees}).items():
            entries = entries_of(data, tree)
            if entries is None:
                self._unsound(f"its {blob(tree)} is not the list of files that its name says")
            else:
                found[tree] = entries
        return found

    def _read(self, names: dict[str, str]) -> dict[str, bytes]:
        """By what was asked for: the blobs that are there."""
        got: dict[str, bytes] = {}
        if names and not self._down:
            with self._failing():
                got = self.place.read(list(names.values()))
        return {asked: got[name] for asked, name in names.items() if name in got}

    @contextlib.contextmanager
    def _failing(self) -> Iterator[None]:
        """The place failed: said once, and it is left alone from now on; an error where it is required."""
        try:
            yield
        except RemoteError as e:
            if self.place.halted:
                return
            if self._required:
                raise
            self._down = True
            self._warn(e.slug, f"{e.message}; going on without it")

    def _unsound(self, what: str) -> None:
        """Something there is not what its name says."""
        message = f"the remote {self.url}: {what}"
        if self._required:
            hint = "whoever keeps the remote must remove it; a build without `--require-remote` goes on by executing"
            raise RemoteError(message, slug="remote-poisoned", hint=hint)
        self._warn("remote-poisoned", f"{message}; it is not used")


def read_hints(data: bytes) -> list[Made]:
    """Parts of a hint file; none of one that is no such file."""
    try:
        found = list(Made.read(data.decode()))
        return found if all(hex_of(digest) for made in found for digest in made) else []
    except (ValueError, TypeError, AttributeError, RecursionError):
        return []


def _stored(store: Store, e: artifacts.Entry) -> bool:
    try:
        return os.stat(store.place("objects", e.digest)).st_size == e.size
    except FileNotFoundError:
        return False


def _remove(path: str) -> None:
    with contextlib.suppress(FileNotFoundError):
        os.unlink(path)
