"""Pushing: results of this store to the remote. Objects first, entries last, nothing that is there already, nothing
private. A killed push leaves no entry without its objects, and the next one goes on where it stopped."""

from __future__ import annotations

import os
from collections.abc import Callable
from typing import Any, NamedTuple

from tunekit.build.finish import early
from tunekit.errors import UsageError
from tunekit.hashing import PREFIX, hex_of
from tunekit.parts import Made, listed
from tunekit.plan.planner import Node, Planner
from tunekit.share.private import private_labels
from tunekit.share.remote import read_hints
from tunekit.share.remote_place import BATCH_BYTES, BATCH_FILES, Item, Place, attempt_entry, blob, entry, hints
from tunekit.share.remote_record import Machine, Unfit, incoming, outgoing
from tunekit.share.remote_tree import tree_blob
from tunekit.store import artifacts, records

Say = Callable[[int, int], None]  # bytes that are there, bytes in all


class Skipped(NamedTuple):
    """A result that stays here; `slug`: private, early, not-here, names-this-machine, corrupt, conflict."""

    label: str
    slug: str
    why: str


class Pushed(NamedTuple):
    """`entries`: labels that the remote has now and did not have before; `known`: those that it had; `objects` and
    `size`: what was sent."""

    entries: list[str]
    known: list[str]
    skipped: list[Skipped]
    objects: int
    size: int


class _Leaving(NamedTuple):
    """One action's result: its entry, the lists of files that it needs there, its parts by base. `here`: its objects
    are in this store (of a result that was freed the entry alone is left, and cannot be pushed)."""

    label: str
    record: dict[str, Any]
    body: bytes
    lists: dict[str, list[artifacts.Entry]]
    parts: list[Made]
    here: bool = True
    promoted: bool = False  # the lock chose it: it has a place of its own where another attempt was quicker

    @property
    def names(self) -> list[str]:
        """Of its entry, the first that is free or its own."""
        if not self.record:
            return []
        key, attempt = self.record["key"], self.record["attempt"]
        return [entry(key), *([beside] if self.promoted and (beside := attempt_entry(key, attempt)) else [])]


def push(planner: Planner, labels: list[str], asked: list[str], place: Place, say: Say, *, sources: bool) -> Pushed:
    """Push the results of `labels` and of all they were made from. `asked`: those that were named; `sources`: also
    the files of locked sources. UsageError `private` or `not-built` for one that was named and cannot be pushed."""
    planner.plan(labels)
    nodes = {label: planner.nodes[label] for label in planner.graph.closure(labels)}
    private = private_labels(planner.graph, labels)
    _refuse(asked, nodes, private)
    skipped = [Skipped(label, "private", _why_private(label, private[label])) for label in private]
    leaving: list[_Leaving] = []
    machine = Machine.here(planner.inputs.root, planner.store.root)
    for label, node in nodes.items():
        if label in private or node.in_place or bool(node.action.source) > sources:
            continue
        found = _source(planner, node) if node.action.source else _result(planner, node, machine)
        if isinstance(found, Skipped):
            skipped.append(found)
        else:
            leaving.append(found)
    return _Push(planner, place, say, skipped).run(leaving)


def _refuse(asked: list[str], nodes: dict[str, Node], private: dict[str, str]) -> None:
    for label in asked:
        if label in private:
            hint = f"say `private = false` in [{label.replace(':', '.')}] if its result may leave this machine"
            raise UsageError(_why_private(label, private[label]), slug="private", hint=hint)
        if not nodes[label].present:
            why = "; ".join(str(r) for r in nodes[label].reasons)
            message = f"{label} has no result to push" + (f": {why}" if why else "")
            raise UsageError(message, slug="not-built", hint=f"tunekit build {label}")


def _why_private(label: str, origin: str) -> str:
    whose = "" if label.partition("#")[0] == origin else f": it is made from {origin}"
    return f"{label} is private{whose}"


def _result(planner: Planner, node: Node, machine: Machine) -> _Leaving | Skipped:
    store = planner.store
    record = planner.results.record(node.key) if node.key and node.outputs else None
    if record is None:
        return Skipped(node.label, "not-here", "it is not built")
    if how := early(record):
        return Skipped(node.label, "early", f"it was {how}, and the entry of its key is for a full training")
    promoted = planner.results.promoted(node.key) is not None
    trees = {tree: artifacts.read_tree(store, tree) for tree in record["outputs"].values()}
    lists = {tree: entries for tree, entries in trees.items() if entries is not None}
    if len(lists) < len(trees) or not all(artifacts.whole(store, tree) is not None for tree in lists):
        return _Leaving(node.label, record, b"", {}, [], here=False, promoted=promoted)
    body = outgoing(record, machine)
    if isinstance(body, Unfit):
        return Skipped(node.label, "names-this-machine", body.why)
    parts = []
    for made in listed(records.parts_list(store, record)):
        entries = artifacts.read_tree(store, made.output)
        if entries is not None and artifacts.whole(store, made.output) is not None:
            parts.append(made)
            lists[made.output] = entries
    return _Leaving(node.label, record, body, lists, parts, promoted=promoted)


def _source(planner: Planner, node: Node) -> _Leaving | Skipped:
    """The files of a source: no entry, their list is found by the digest in the lock."""
    tree = (node.outputs or {}).get("main", "")
    entries = artifacts.read_tree(planner.store, tree) if tree else None
    if entries is None or artifacts.whole(planner.store, tree) is None:
        return Skipped(node.label, "not-here", "its files are not in the store")
    return _Leaving(node.label, {}, b"", {tree: entries}, [])


class _Push:
    """One push on its way."""

    def __init__(self, planner: Planner, place: Place, say: Say, skipped: list[Skipped]) -> None:
        self.store = planner.store
        self.place = place
        self.say = say
        self.skipped = skipped
        self.sent = self.size = 0
        self.bad: dict[str, str] = {}  # objects that could not be sent → why

    def run(self, leaving: list[_Leaving]) -> Pushed:
        self.place.open()
        there = self.place.read([name for x in leaving for name in x.names])
        places = {x.label: _placed(x, there) for x in leaving}
        kept = [x for x in leaving if not (x.record and places[x.label] == TAKEN)]
        self.skipped += [_conflict(x, there) for x in leaving if x.record and places[x.label] == TAKEN]
        self._objects(kept)
        self._hints([x for x in kept if x.parts])
        entries: list[str] = []
        known: list[str] = []
        for x in kept:
            why = next((self.bad[e.digest] for es in x.lists.values() for e in es if e.digest in self.bad), "")
            if why:
                self.skipped.append(Skipped(x.label, "corrupt", why))
            elif not x.here and places[x.label] != KNOWN:
                self.skipped.append(Skipped(x.label, "not-here", "its objects are not in the store"))
            else:
                place = places[x.label] if x.record else KNOWN
                while place not in (KNOWN, TAKEN) and not self.place.put_new(place, x.body):
                    taken = x.names[: x.names.index(place) + 1]  # another machine was quicker
                    there = dict.fromkeys(taken, b"") | self.place.read(x.names)
                    place = _placed(x, there)
                if place == TAKEN:
                    self.skipped.append(_conflict(x, there))
                else:
                    (known if place == KNOWN else entries).append(x.label)
        return Pushed(entries, known, self.skipped, self.sent, self.size)

    def _objects(self, leaving: list[_Leaving]) -> None:
        """Send files, then lists of files, each once, and those only that are not there in full size."""
        files = {e.digest: self._item(e.digest, e.size) for x in leaving for es in x.lists.values() for e in es}
        for x in leaving:
            if (
                x.here
                and x.record
                and x.record["metrics"]
                and os.path.exists(self.store.place("objects", x.record["metrics"]))
            ):
                digest = x.record["metrics"]
                files[digest] = self._item(digest, os.stat(self.store.place("objects", digest)).st_size)
        lists = {tree: tree_blob(entries) for x in leaving for tree, entries in x.lists.items()}
        sizes = self.place.sizes([i.name for i in files.values()] + [blob(tree) for tree in lists])
        missing = [i for i in files.values() if sizes.get(i.name) != i.size]
        total = sum(i.size for i in missing)
        waiting = waiting_bytes = 0
        for outcome in self.place.put(sorted(missing, key=lambda i: -i.size)):
            item = outcome.item
            if outcome.fault:
                self._damaged(item, outcome.fault)
                continue
            self.sent, self.size = self.sent + 1, self.size + item.size
            waiting, waiting_bytes = waiting + 1, waiting_bytes + item.size
            self.say(self.size, total)
            if waiting >= BATCH_FILES or waiting_bytes >= BATCH_BYTES:
                self.place.settle()
                waiting = waiting_bytes = 0
        self._lists({tree: data for tree, data in lists.items() if sizes.get(blob(tree)) != len(data)})

    def _item(self, digest: str, size: int) -> Item:
        return Item(blob(digest), self.store.place("objects", digest), size, digest)

    def _damaged(self, item: Item, fault: str) -> None:
        """An object of this store is not what its name says: it is put away, and its results stay here."""
        self.bad[item.digest] = f"object {hex_of(item.digest)[:12]} of this store {fault}; build again"
        if os.path.exists(item.path):
            artifacts.quarantine(self.store, self.store.object(item.digest))

    def _lists(self, lists: dict[str, bytes]) -> None:
        """Lists of files, through files of ours: they go the way that objects go, and get their names after them."""
        items = []
        try:
            for tree, data in lists.items():
                path = f"{self.store.tmp}/{os.getpid()}-list-{os.urandom(6).hex()}"
                with open(path, "xb") as file:
                    file.write(data)
                items.append(Item(blob(tree), path, len(data), tree))
            for outcome in self.place.put(items):
                if not outcome.fault:
                    self.sent, self.size = self.sent + 1, self.size + outcome.item.size
            self.place.settle()
        finally:
            for item in items:
                os.unlink(item.path)

    def _hints(self, leaving: list[_Leaving]) -> None:
        """What parts there are for which settings: ours, and as many of those that others left."""
        ours: dict[str, dict[str, Made]] = {}
        for x in leaving:
            for made in x.parts:
                ours.setdefault(made.base, {})[made.chunk] = made
        old = self.place.read([hints(base) for base in ours])
        for base, by_chunk in ours.items():
            data = old.get(hints(base), b"")
            others = [m for m in read_hints(data) if m.base == base and m.chunk not in by_chunk]
            body = Made.write([*by_chunk.values(), *others[: len(by_chunk)]]).encode()
            if body != data:
                self.place.replace(hints(base), body)


KNOWN, TAKEN = "known", "taken"


def _placed(x: _Leaving, there: dict[str, bytes]) -> str:
    """The name that its entry gets; KNOWN if the remote has this result, TAKEN if it has others in all its places."""
    for name in x.names:
        if name not in there:
            return name
        theirs = incoming(there[name], x.record["key"])
        if theirs is not None and theirs["outputs"] == x.record["outputs"]:
            return KNOWN
    return TAKEN


def _conflict(x: _Leaving, there: dict[str, bytes]) -> Skipped:
    """The remote has another result of the same key. It stays; both are named."""
    theirs = incoming(there[x.names[0]], x.record["key"])
    what = f"attempt {theirs['attempt']} ({_short(theirs)})" if theirs else "something that is no record of it"
    why = f"the remote has {what}, which stays; here is attempt {x.record['attempt']} ({_short(x.record)})"
    return Skipped(x.label, "conflict", why)


def _short(record: dict[str, Any]) -> str:
    return str(record["outputs"]["main"])[len(PREFIX) : len(PREFIX) + 12]
