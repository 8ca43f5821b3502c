"""Freeing the store of what nothing refers to, in two steps: into the trash, and out of it after the grace.

What lives is asked of `roots.live`, and asked again after the move: what came alive in between is put back. Records
stay (they are small, and say what a key's result was): equal bytes bring such a result back.
"""

from __future__ import annotations

import os
import shutil
import time
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

from tunekit.share.roots import Live, live
from tunekit.store import records
from tunekit.store.store import Store

FAILED = 7 * 86400.0  # staging of a failed attempt stays this long
_SHARDED = ("objects", "trees", "parts")


class Dead(NamedTuple):
    """Something to free: a path below the store's root, and how many bytes it takes."""

    path: str
    size: int


class Plan(NamedTuple):
    """`dead`: to be moved into the trash; `expired`: batches of the trash whose grace is over."""

    live: Live
    dead: list[Dead]
    expired: list[Dead]


def plan(store: Store, grace: float, now: float | None = None) -> Plan:
    """What a collection would do. Reads only."""
    moment = time.time() if now is None else now
    found = live(store)
    limit = min(moment - grace, found.since)
    dead = list(_dead(store, found, limit, moment))
    batches = [p for p in (store.root / "trash").iterdir() if _moved(p) <= moment - grace]
    return Plan(found, dead, [Dead(f"trash/{p.name}", size_of(p)) for p in sorted(batches)])


def collect(store: Store, grace: float) -> Plan:
    """Do it: empty what is due, move what is dead, put back what turned out to live."""
    _rescue(store, list((store.root / "trash").iterdir()))  # what is wanted again since it was moved
    made = plan(store, grace)
    for due in made.expired:
        shutil.rmtree(store.root / due.path, ignore_errors=True)
    if made.dead:
        moved = _move(store, made.dead)
        _rescue(store, [moved])
        if grace == 0:
            shutil.rmtree(moved, ignore_errors=True)
    return made


# -- what is dead --------------------------------------------------------------------------------


def _dead(store: Store, found: Live, limit: float, now: float) -> Iterator[Dead]:
    for kind, names in (("objects", found.objects), ("trees", found.trees)):
        for path in (store.root / kind).glob("*/*"):
            if path.name not in names:
                yield from _old(store, path, limit)
    for path in (store.root / "views").iterdir():
        if path.name not in found.trees:
            yield from _old(store, path, limit)
    for path in (store.root / "parts").glob("*/*"):
        output = records.part_output(store, "sha256:" + path.name)
        if output is None or output[7:] not in found.trees:
            yield from _old(store, path, limit)
    for path in (store.root / "archives" / "archives").glob("[0-9a-f]" * 64):
        if path.name not in found.archives:
            yield from _old(store, path, limit)
    for path in (store.root / "archives" / "git").glob("[0-9a-f]" * 40):
        if path.name not in found.archives:
            yield from _old(store, path, limit)
    for path in (store.root / "staging").iterdir():
        if path.name not in found.running:
            yield from _old(store, path, min(limit, now - FAILED))
    for path in (store.root / "tmp").iterdir():
        if not _alive(path.name):
            yield from _old(store, path, limit)


def _old(store: Store, path: Path, limit: float) -> Iterator[Dead]:
    """Nothing younger than the limit: by its own times, and a folder's by those of what is in it."""
    try:
        newest = max(_changed(p) for p in _within(path))
        if newest <= limit:
            yield Dead(str(path.relative_to(store.root)), size_of(path))
    except FileNotFoundError:
        return  # another process was quicker


def _within(path: Path) -> Iterator[Path]:
    yield path
    if path.is_dir() and not path.is_symlink():
        for folder, names, files in os.walk(path):
            for name in names + files:
                yield Path(folder, name)


def _changed(path: Path) -> float:
    s = path.lstat()
    return max(s.st_mtime, s.st_ctime)


def _alive(name: str) -> bool:
    """Whether a temporary name (`build-<pid>`, `view-<pid>-…`, `<pid>-…`) belongs to a process that runs."""
    pid = next((int(part) for part in name.split("-") if part.isdigit()), 0)
    return pid > 0 and Path(f"/proc/{pid}").exists()


def size_of(path: Path) -> int:
    """Bytes of plain files in or at a path."""
    total = 0
    for p in _within(path):
        try:
            s = p.lstat()
        except FileNotFoundError:
            continue
        total += s.st_size if not p.is_symlink() and p.is_file() else 0
    return total


# -- the trash -----------------------------------------------------------------------------------


def _moved(batch: Path) -> float:
    """When a batch was moved: its name says it."""
    number = batch.name.partition("-")[0]
    return float(number) if number.isdigit() else batch.lstat().st_mtime


def _move(store: Store, dead: list[Dead]) -> Path:
    batch = store.root / "trash" / f"{int(time.time())}-{os.urandom(4).hex()}"
    batch.mkdir()
    for item in dead:
        target = batch / item.path
        target.parent.mkdir(parents=True, exist_ok=True)
        try:
            os.rename(store.root / item.path, target)
        except FileNotFoundError:
            continue
    return batch


def _rescue(store: Store, batches: list[Path]) -> None:
    """Put back what lives. Twice, because a tree that comes back says which objects live."""
    for _ in range(2 if batches else 0):
        found = live(store)
        for batch in batches:
            _put_back(store, batch, found)


def _put_back(store: Store, batch: Path, found: Live) -> None:
    for kind, names in (("objects", found.objects), ("trees", found.trees), ("views", found.trees)):
        for path in _names(batch, kind):
            target = store.root / path.relative_to(batch)
            if path.name in names and not target.exists():
                target.parent.mkdir(parents=True, exist_ok=True)
                os.rename(path, target)


def _names(batch: Path, kind: str) -> list[Path]:
    return sorted((batch / kind).glob("*/*" if kind in _SHARDED else "*"))
