"""What the store must keep: the one liveness function. gc, and whoever else removes something, asks it."""

from __future__ import annotations

import contextlib
import os
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any, NamedTuple

from tunekit.build import history
from tunekit.errors import LockError, SourceError, StoreError
from tunekit.hashing import hex_of
from tunekit.lockfile import SourceBlock, load_lock
from tunekit.parts import listed
from tunekit.plan.state import State
from tunekit.sources.git_repository import folder_name
from tunekit.sources.locator import parse_locator
from tunekit.store import artifacts, records
from tunekit.store.in_use import Use, in_use
from tunekit.store.store import Store

_TICK = 0.1  # seconds: times of files come from a coarser clock
KEPT = 10  # newest history lines of a label that count


class Root(NamedTuple):
    """One registered project, or one running action, and what it keeps."""

    name: str
    there: bool
    trees: set[str]
    attempts: set[tuple[str, str]]  # (key, attempt): their logs and metrics
    archives: frozenset[str] = frozenset()  # names of downloaded archives and repositories that the lock has
    objects: frozenset[str] = frozenset()  # hex of those that a running action has put into its result


class Live(NamedTuple):
    """Everything that must stay. `since`: nothing that changed later than this is to be touched (a running action
    may have published what it has not named yet)."""

    roots: list[Root]
    trees: set[str]
    objects: set[str]
    archives: set[str]
    running: set[str]  # keys in flight, as hex
    since: float


def live(store: Store) -> Live:
    """Read every root anew. A root that cannot be read (a lock of a newer version) raises: guessing frees too much."""
    projects = [_project(_folder(p), store) for p in sorted((store.root / "roots").iterdir())]
    uses = list(in_use(store))
    roots = [*projects, *(_action(store, use) for use in uses)]
    trees = {t for r in roots for t in r.trees}
    objects = {o for r in roots for o in r.objects}
    for attempt in {a for r in roots for a in r.attempts}:
        for record in _records(store, *attempt):
            trees |= set(record["outputs"].values())
            objects |= {hex_of(d) for d in (record["log"], record["metrics"]) if d}
            trees |= set(_parts(records.parts_list(store, record)))
    for tree in trees:
        objects |= _objects_of(store, tree)
    trees, objects = _with_parts(store, trees, objects)
    archives = {a for r in roots for a in r.archives}
    since = min([time.time(), *(use.begun - _TICK for use in uses)])
    running = {hex_of(use.key) for use in uses if use.key}
    return Live(roots, {hex_of(t) for t in trees}, objects, archives, running, since)


def _folder(file: Path) -> Path:
    """The project that a file of `roots/` names. StoreError if it is torn: its project would be taken for gone."""
    folder = Path(file.read_text().rstrip("\n"))
    if not folder.is_absolute():
        hint = "build in the project that it stood for, or delete it"
        raise StoreError(f"{file} does not name a project", slug="bad-root", hint=hint)
    return folder


def _project(root: Path, store: Store) -> Root:
    """A project's newest history lines a label, its links, its promoted results and what its state calls fresh."""
    if not os.path.isfile(root / "tunekit.toml"):  # also for a name that no file can have
        return Root(str(root), False, set(), set())
    trees: set[str] = set()
    attempts: set[tuple[str, str]] = set()
    count: dict[str, int] = {}
    for line in reversed(history.read(root)):
        count[line["label"]] = count.get(line["label"], 0) + 1
        if count[line["label"]] <= KEPT:
            trees |= set(line["outputs"].values())
            attempts.add((line["key"], line["attempt"]))
    try:
        lock = load_lock(root / "tunekit.lock")
    except LockError as e:
        raise LockError(f"{root}: {e.message}", slug=e.slug, hint=e.hint) from e
    for result in lock.results:
        trees |= set(result.outputs.values())
        attempts.add((result.key, str(result.attempt)))
    archives = frozenset(name for block in lock.sources.values() for name in _cached(block))
    return Root(str(root), True, trees | _links(root, store) | _fresh(root), attempts, archives)


def _cached(block: SourceBlock) -> Iterator[str]:
    """What of a pinned source lies in the cache of downloads: files by digest, repositories by URL."""
    if block.archive:
        yield hex_of(block.archive.sha256)
    with contextlib.suppress(SourceError):  # of a host that may not be asked any more: nothing of it is wanted
        locator = parse_locator(block.source)
        if locator.scheme == "git":
            yield folder_name(locator.name)


def _links(root: Path, store: Store) -> set[str]:
    """Artifacts that `.tunekit/out` points at."""
    views = str(store.root / "views") + os.sep
    found = set()
    for path in (root / ".tunekit" / "out").glob("*/*"):
        if path.is_symlink() and os.readlink(path).startswith(views):
            found.add("sha256:" + os.path.basename(os.readlink(path)))
    return found


def _fresh(root: Path) -> set[str]:
    """Results that the project's state remembers: a target that went back to an old setting writes no history."""
    try:
        memo = State.load(root).memo
        return {tree for entry in memo.values() for tree in entry[2].values()}
    except (OSError, ValueError, KeyError, TypeError, IndexError, AttributeError):
        return set()


def _action(store: Store, use: Use) -> Root:
    """A running action: its inputs, the snapshot of its code, what it may copy from, and what it has taken so far."""
    trees = {*use.trees, *_parts(use.parts)}
    placed = frozenset(_placed(store.staging(use.key))) if use.key else frozenset()
    return Root(f"running {use.action}", True, trees, set(), objects=placed)


def _parts(text: str) -> Iterator[str]:
    """Artifacts that a list of parts names; a torn line names none."""
    for part in listed(text):
        with contextlib.suppress(ValueError, AttributeError):
            yield "sha256:" + hex_of(part.output)


def _placed(staging: Path) -> Iterator[str]:
    """Objects that an unfinished artifact links to."""
    for folder, _, files in os.walk(staging / "out"):
        yield from (os.path.basename(os.readlink(p)) for f in files if os.path.islink(p := os.path.join(folder, f)))


def _records(store: Store, key: str, attempt: str) -> list[dict[str, Any]]:
    """The attempt and the selected one of its key: the planner answers with that."""
    found = [r for r in records.attempts(store, key) if r["attempt"] == attempt]
    selected = records.lookup(store, key)
    return found + ([selected] if selected else [])


def _objects_of(store: Store, tree: str) -> set[str]:
    return {hex_of(e.digest) for e in artifacts.read_tree(store, tree) or []}


def _with_parts(store: Store, trees: set[str], objects: set[str]) -> tuple[set[str], set[str]]:
    """A part of a dataset step lives while all its bytes do: keeping it costs nothing and saves the work again."""
    kept = set(trees)
    for path in (store.root / "parts").glob("*/*"):
        output = records.part_output(store, "sha256:" + path.name)
        if output and output not in kept:
            files = _objects_of(store, output)
            if files and files <= objects:
                kept.add(output)
    return kept, objects
