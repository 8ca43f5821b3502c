"""Results that a remote has: brought into the store instead of executing, first of all and as a build goes on."""

from __future__ import annotations

import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

from tunekit.build import history
from tunekit.build.aside import Aside
from tunekit.parts import Made, part_key
from tunekit.plan.planner import REMOTE, Node, Planner
from tunekit.plan.remote import Known, Remote
from tunekit.store import artifacts, records

Listener = Callable[[dict[str, Any]], None]
PARTS = "earlier.parts"  # in an action's staging: parts that other machines made with its settings
_EVERY = 0.2
_AT_ONCE = 4  # fetches
_PATIENCE = 2.0  # seconds that one which is stopped may take to end


class Fetching:
    """Of one build. `fetched`: labels whose result was brought here, with their records. The network is waited for in
    threads, which touch the store and nothing of the plan; plan, history and listener are the loop's alone."""

    def __init__(self, planner: Planner, listen: Listener) -> None:
        self.planner = planner
        self.listen = listen
        self.fetched: dict[str, dict[str, Any]] = {}
        self.keys: set[str] = set()  # on their way
        self._parts: dict[str, list[Made] | None] = {}  # by key: what came; None: on its way
        self._aside = Aside(_AT_ONCE)

    @property
    def elsewhere(self) -> Known:
        assert self.planner.elsewhere is not None
        return self.planner.elsewhere

    @property
    def remote(self) -> Remote:
        return self.elsewhere.remote

    def all(self, labels: list[str]) -> dict[str, Node]:
        """Fetch what the plan of these labels takes from the remote. What does not arrive is planned to run, and then
        what it reads may have to be fetched: again, until nothing is left. The plan as it is then."""
        planner = self.planner
        while True:
            nodes = {label: planner.nodes[label] for label in planner.graph.closure(labels)}
            wanted = [label for label, node in nodes.items() if node.fetch]
            if not wanted:
                break
            self._fetch(wanted)
            planner.plan(labels)
        for label, node in nodes.items():
            if node.state == REMOTE and node.key in self.elsewhere.records:
                self.elsewhere.adopt(label)
        planner.mark(list(nodes), labels)
        return nodes

    # -- beside a build's loop -------------------------------------------------------------------

    @property
    def fd(self) -> int:
        return self._aside.fd

    @property
    def busy(self) -> bool:
        return self._aside.busy

    def take(self) -> None:
        """Hand on what was fetched since. RemoteError where a remote is required and failed."""
        self._aside.take()

    def adopt_known(self, nodes: dict[str, Node]) -> None:
        """Of results that nothing needs here the record is enough."""
        for label, node in nodes.items():
            if node.state == REMOTE and not node.fetch and node.key in self.elsewhere.records:
                self.elsewhere.adopt(label)

    def is_there(self, label: str) -> bool:
        """Whether the remote has the result of an action whose key only became known now."""
        if self.planner.elsewhere is None:
            return False
        node = self.elsewhere.ask(label)
        return node.state == REMOTE and not node.present

    def begin(self, labels: list[str], then: Callable[[str, bool], None]) -> None:
        """Fetch results while the loop goes on, a key once; `then` says of each label whether it is here now."""
        by_key: dict[str, list[str]] = {}
        for label in labels:
            by_key.setdefault(self.planner.nodes[label].key, []).append(label)
        self.keys |= by_key.keys()
        self.listen({"type": "fetch", "actions": labels, "remote": self.remote.url})
        groups = list(by_key.values())
        size = -(-len(groups) // _AT_ONCE)
        for i in range(0, len(groups), size):
            self._begin([label for group in groups[i : i + size] for label in group], then)

    def _begin(self, labels: list[str], then: Callable[[str, bool], None]) -> None:
        planner, began = self.planner, time.monotonic()
        trees = self._trees(labels)
        small = self._lacking_metrics(labels)
        said = 0.0

        def say(done: int, total: int) -> None:
            nonlocal said
            if done == total or time.monotonic() - said > _EVERY:
                said = time.monotonic()
                self._aside.tell(lambda: self._say(done, total))

        def bring() -> dict[str, str]:
            faults = self.remote.fetch(planner.store, [t for many in trees.values() for t in many], say)
            self.remote.small(planner.store, small)
            return faults

        def arrived(faults: dict[str, str]) -> None:
            self.keys -= {planner.nodes[label].key for label in labels}
            here = self._arrived(trees, faults, began)
            for label in labels:
                then(label, label in here)

        self._aside.begin(bring, arrived)

    def close(self) -> None:
        """Fetch no more: what is on its way is left, and has no name yet."""
        if self._aside.busy:
            self.remote.halt()
        self._aside.close(_PATIENCE)

    # -- fetching --------------------------------------------------------------------------------

    def _fetch(self, labels: list[str]) -> list[str]:
        """Those labels whose results are here now."""
        trees, began, said = self._trees(labels), time.monotonic(), 0.0
        self.listen({"type": "fetch", "actions": labels, "remote": self.remote.url})

        def say(done: int, total: int) -> None:
            nonlocal said
            if done == total or time.monotonic() - said > _EVERY:
                said = time.monotonic()
                self._say(done, total)

        small = self._lacking_metrics(labels)
        faults = self.remote.fetch(self.planner.store, [t for many in trees.values() for t in many], say)
        self.remote.small(self.planner.store, small)
        return self._arrived(trees, faults, began)

    def _trees(self, labels: list[str]) -> dict[str, list[str]]:
        nodes = self.planner.nodes
        return {label: list((nodes[label].outputs or {}).values()) for label in labels}

    def _say(self, done: int, total: int) -> None:
        self.listen({"type": "fetching", "done": done, "total": total, "unit": "bytes", "remote": self.remote.url})

    def _arrived(self, trees: dict[str, list[str]], faults: dict[str, str], began: float) -> list[str]:
        """Take over what came; refuse what did not."""
        here = []
        for label, wanted in trees.items():
            why = next((faults[tree] for tree in wanted if tree in faults), "")
            if why:
                self.elsewhere.refuse(label)
                self.listen({"type": "warning", "action": label, "slug": "not-fetched", "message": why})
                continue
            here.append(label)
            record = self.elsewhere.adopt(label)
            self.fetched[label] = record
            if record:
                history.append(self.planner.inputs.root, label, record, "fetched")
            took = round(time.monotonic() - began, 3)
            self.listen({"type": "fetched", "action": label, "seconds": took, "remote": self.remote.url})
        return here

    def _lacking_metrics(self, labels: list[str]) -> list[str]:
        store, nodes = self.planner.store, self.planner.nodes
        found = [self.elsewhere.records.get(nodes[label].key, {}).get("metrics") for label in labels]
        return [d for d in found if d and not store.object(d).exists()]

    # -- parts -----------------------------------------------------------------------------------

    def begin_parts(self, node: Node, then: Callable[[], None]) -> bool:
        """Fetch what other machines made with a node's settings, so that a changed row costs a row here too. False if
        that is done, or there is nothing to ask: its action may start. Left out where this store has the label's last
        result."""
        planner, store, key = self.planner, self.planner.store, node.key
        if key in self._parts:
            return self._parts[key] is None
        if (
            planner.elsewhere is None
            or not node.bases
            or node.label in planner.forced
            or planner.lists_parts(node.label)
        ):
            return False
        self._parts[key], bases = None, node.bases

        def bring() -> list[Made]:
            found = self.remote.parts(bases)
            lacking = [made.output for made in found if artifacts.whole(store, made.output) is None]
            faults = self.remote.fetch(store, lacking, lambda done, total: None)
            return [made for made in found if made.output not in faults]

        def arrived(found: list[Made]) -> None:
            self._parts[key] = found
            then()

        self._aside.begin(bring, arrived)
        return True

    def parts(self, node: Node, folder: Path) -> None:
        """Leave them where the action looks for them. Whoever holds the lease may ask."""
        store, there = self.planner.store, self._parts.get(node.key)
        for made in there or []:
            part = part_key(made.base, made.chunk)
            known = records.part_output(store, part)
            if known is None or artifacts.whole(store, known) is None:
                records.add_part(store, part, made.output)
        if there:
            folder.mkdir(parents=True, exist_ok=True)
            (folder / PARTS).write_text(Made.write(there))
