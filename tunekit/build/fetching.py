"""Results that a remote has: brought into the store instead of executing, first of all and as a build goes on."""

from __future__ import annotations

import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

from tunekit.build import history
from tunekit.parts import Made, part_key
from tunekit.plan.planner import REMOTE, Node, Planner
from tunekit.plan.remote import Known, Remote
from tunekit.store import artifacts, records

Listener = Callable[[dict[str, Any]], None]
PARTS = "earlier.parts"  # in an action's staging: parts that other machines made with its settings
_EVERY = 0.2


class Fetching:
    """Of one build. `fetched`: labels whose result was brought here, with their records. Without a remote, all but
    `all` may be called, and do nothing."""

    def __init__(self, planner: Planner, listen: Listener) -> None:
        self.planner = planner
        self.listen = listen
        self.fetched: dict[str, dict[str, Any]] = {}

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

    def now(self, label: str) -> bool:
        """Whether the result of one action, whose key only became known now, could be fetched."""
        if self.planner.elsewhere is None:
            return False
        node = self.elsewhere.ask(label)
        return node.state == REMOTE and not node.present and self._fetch([label]) == [label]

    def _fetch(self, labels: list[str]) -> list[str]:
        """Those labels whose results are here now."""
        planner = self.planner
        trees = {label: list((planner.nodes[label].outputs or {}).values()) for label in labels}
        remote = {"remote": self.remote.url}
        self.listen({"type": "fetch", "actions": labels, **remote})
        began, said = time.monotonic(), 0.0

        def say(done: int, total: int) -> None:
            nonlocal said
            if done == total or time.monotonic() - said > _EVERY:
                said = time.monotonic()
                self.listen({"type": "fetching", "done": done, "total": total, "unit": "bytes", **remote})

        faults = self.remote.fetch(planner.store, [t for many in trees.values() for t in many], say)
        here = []
        for label in labels:
            why = next((faults[tree] for tree in trees[label] if tree in faults), "")
            if why:
                self.elsewhere.refuse(label)
                self.listen({"type": "warning", "action": label, "slug": "not-fetched", "message": why})
            else:
                here.append(label)
        self._metrics(here)
        for label in here:
            record = self.elsewhere.adopt(label)
            self.fetched[label] = record
            if record:
                history.append(planner.inputs.root, label, record, "fetched")
            took = round(time.monotonic() - began, 3)
            self.listen({"type": "fetched", "action": label, "seconds": took, **remote})
        return here

    def _metrics(self, labels: list[str]) -> None:
        store, nodes = self.planner.store, self.planner.nodes
        found = [self.elsewhere.records.get(nodes[label].key, {}).get("metrics") for label in labels]
        self.remote.small(store, [d for d in found if d and not store.object(d).exists()])

    def parts(self, node: Node, folder: Path) -> None:
        """Before an action with parts is executed: what other machines made with its settings, so that a changed row
        costs a row here too. Left out where this store has the label's last result."""
        planner, store = self.planner, self.planner.store
        if (
            planner.elsewhere is None
            or not node.bases
            or node.label in planner.forced
            or planner.lists_parts(node.label)
        ):
            return
        found = self.remote.parts(node.bases)
        lacking = [made for made in found if artifacts.whole(store, made.output) is None]
        faults = self.remote.fetch(store, [made.output for made in lacking], lambda done, total: None)
        there = [made for made in found if made.output not in faults]
        for made in there:
            part = part_key(made.base, made.chunk)
            known = records.part_output(store, part)
            if known is None or artifacts.whole(store, known) is None:
                records.add_part(store, part, made.output)
        if there:
            folder.mkdir(parents=True, exist_ok=True)
            (folder / PARTS).write_text(Made.write(there))
