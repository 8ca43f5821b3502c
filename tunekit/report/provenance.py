"""Where a result came from: records linked by the digests of their inputs, back to the sources."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, NamedTuple

from tunekit.build import history
from tunekit.plan.planner import Planner
from tunekit.share.bundle_words import in_own_words
from tunekit.store import records


class Ancestor(NamedTuple):
    """One input on the way back. `record` is None where this project knows none (made elsewhere, or gone);
    `seen`: its own inputs were named before."""

    depth: int
    role: str
    label: str
    digest: str
    record: dict[str, Any] | None
    seen: bool


class Provenance:
    """Finds the record that made an artifact: in the plan as it is now, else in the project's history."""

    def __init__(self, planner: Planner) -> None:
        self._planner = planner
        self._history: dict[tuple[str, str], tuple[str, str]] | None = None

    def maker(self, label: str, digest: str) -> dict[str, Any] | None:
        """The record of `label` whose outputs include `digest`, in the words of this project."""
        store = self._planner.store
        node = self._planner.nodes.get(label)
        if node is not None and node.key and digest in (node.outputs or {}).values():
            found = self._planner.results.record(node.key)
            if found is not None:
                return in_own_words(self._planner, node, found)
        line = self._lines().get((label, digest))
        if line is None:
            return None
        return next((r for r in records.attempts(store, line[0]) if r["attempt"] == line[1]), None)

    def _lines(self) -> dict[tuple[str, str], tuple[str, str]]:
        if self._history is None:
            self._history = {
                (line["label"], digest): (line["key"], line["attempt"])
                for line in history.read(self._planner.inputs.root)
                for digest in line["outputs"].values()
            }
        return self._history

    def ancestors(self, record: dict[str, Any]) -> Iterator[Ancestor]:
        """Inputs, theirs, and so on, depth first; what was named before is named again but not followed."""
        seen: set[tuple[str, str]] = set()
        stack = _inputs(record, 0)
        while stack:
            depth, role, label, digest = stack.pop()
            known = (label, digest) in seen
            seen.add((label, digest))
            maker = self.maker(label, digest)
            yield Ancestor(depth, role, label, digest, maker, known and bool(maker and maker["inputs"]))
            if maker is not None and not known:
                stack += _inputs(maker, depth + 1)

    def sources(self, record: dict[str, Any]) -> dict[str, str]:
        """Source string → digest of the tree that was read, of everything behind a record."""
        found = {record["source"]: record["outputs"]["main"]} if record["source"] else {}
        for a in self.ancestors(record):
            if a.record is not None and a.record["source"]:
                found[a.record["source"]] = a.digest
        return dict(sorted(found.items()))


def _inputs(record: dict[str, Any], depth: int) -> list[tuple[int, str, str, str]]:
    """Reversed, for a stack."""
    flat = [(depth, role, i["label"], i["digest"]) for role, items in record["inputs"].items() for i in items]
    return flat[::-1]
