"""What a remote has of one plan: asked for in few batches, and taken over as it is fetched."""

from __future__ import annotations

from collections.abc import Iterable
from typing import TYPE_CHECKING, Any

from tunekit.plan.remote import Remote
from tunekit.store import records

if TYPE_CHECKING:
    from tunekit.plan.planner import Node, Planner


class Elsewhere:
    """`records`: by key; `trees`: artifacts of sources; `refused`: labels whose result did not arrive."""

    def __init__(self, planner: Planner, remote: Remote) -> None:
        self.planner = planner
        self.remote = remote
        self.records: dict[str, dict[str, Any]] = {}
        self.trees: set[str] = set()
        self.refused: set[str] = set()
        self._asked: set[str] = set()

    def has(self, node: Node) -> bool:
        """Whether the remote has the very result that is known of a node."""
        if node.label in self.refused:
            return False
        found = self.records.get(node.key)
        return node.key in self.trees or (found is not None and found["outputs"] == node.outputs)

    def ask_all(self, order: list[str], labels: Iterable[str]) -> None:
        """Ask for what would run: a batch for each level of the graph, since what is found there says the keys of the
        next. Sources last, and only those that an action would still read."""
        planner = self.planner
        while self._ask([n.key for n in self._lacking(order) if not n.action.source]):
            moved: set[str] = set()
            for label in order:
                node = planner.nodes[label]
                touched = node.key in self.records or not moved.isdisjoint(planner.graph.links[label])
                if touched and planner.evaluate(label).outputs != node.outputs:
                    moved.add(label)
            planner.mark(order, labels)
        trees = [n.key for n in self._lacking(order) if n.action.source]
        if trees:
            self._asked.update(trees)
            self.trees |= self.remote.have(trees)
            for node in self._lacking(order):
                if node.key in self.trees:
                    planner.evaluate(node.label)
            planner.mark(order, labels)

    def _lacking(self, order: list[str]) -> list[Node]:
        nodes, forced = self.planner.nodes, self.planner.forced
        return [n for n in (nodes[label] for label in order) if n.run and n.key and n.label not in forced]

    def _ask(self, keys: list[str]) -> bool:
        """True if one of them was found that was not asked for before."""
        new = [key for key in dict.fromkeys(keys) if key not in self._asked]
        self._asked.update(new)
        found = self.remote.lookup(new, self.planner.results.promoted) if new else {}
        self.records |= found
        return bool(found)

    def ask(self, label: str) -> Node:
        """A node whose key only became known as the build went on, evaluated with what the remote has of it."""
        planner, node = self.planner, self.planner.nodes[label]
        if label in planner.forced or node.action.source or node.present or not self._ask([node.key]):
            return node
        return planner.evaluate(label)

    def refuse(self, label: str) -> None:
        """The remote did not deliver this one: it is executed."""
        self.refused.add(label)
        self.planner.evaluate(label)

    def adopt(self, label: str) -> dict[str, Any]:
        """The remote's record becomes the store's; the result is remembered, whether its bytes are here or not."""
        planner, node = self.planner, self.planner.nodes[label]
        record: dict[str, Any] = {}
        if not node.action.source:
            record = planner.results.record(node.key) or {}
            if not record:  # no attempt here, or none of the promoted bytes
                records.add(planner.store, self.records[node.key])
                record = planner.results.record(node.key) or self.records[node.key]
            planner.remember(node)
        node.present = all([planner.presence.present(tree) for tree in (node.outputs or {}).values()])
        node.fetch = False
        if node.present:
            node.state = "fresh"
        return record
