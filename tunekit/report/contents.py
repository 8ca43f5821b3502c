"""What became of the rows of a source that moved: read from datasets that the store has, never from the source."""

from __future__ import annotations

import json
from typing import Any, NamedTuple

from tunekit.build import history
from tunekit.plan.planner import Planner
from tunekit.store import artifacts, records


class Contents(NamedTuple):
    """Rows and schema (column → type) of one dataset as made from one tree."""

    rows: int
    schema: dict[str, str]


class Change(NamedTuple):
    """A dataset before and after; None: not at hand. `why`: what would bring it, where one is not."""

    dataset: str
    old: Contents | None
    new: Contents | None
    why: str

    @property
    def columns(self) -> list[tuple[str, str | None, str | None]]:
        """Columns that came, went or have another type: name, type before, type after."""
        if self.old is None or self.new is None:
            return []
        old, new = self.old.schema, self.new.schema
        return [
            (n, old.get(n), new.get(n)) for n in [*old, *(n for n in new if n not in old)] if old.get(n) != new.get(n)
        ]


class Made:
    """Datasets that this project made of sources, by its history."""

    def __init__(self, planner: Planner) -> None:
        self._planner = planner
        self._lines = list(reversed(history.read(planner.inputs.root)))

    def changes(self, source: str, old: str | None, new: str | None) -> list[Change]:
        """Of all datasets that read `source`, whose artifact was `old` and is `new` (None: was not, is not there)."""
        graph = self._planner.graph
        readers = graph.sources.get(source, [])
        labels = [label.partition("#")[0] for label in readers if label.startswith("dataset:")]
        out = []
        for label in labels:
            found = [self._of(label, tree) if tree else None for tree in (old, new)]
            lost = [tree for tree, contents in zip((old, new), found, strict=True) if tree and contents is None]
            out.append(Change(label, found[0], found[1], self._why(label, lost)))
        return out

    def _why(self, label: str, lost: list[str]) -> str:
        if not lost:
            return ""
        fetched = all(artifacts.read_tree(self._planner.store, tree) is not None for tree in lost)
        return f"unknown until {label} is built" if fetched else "unknown until fetched"

    def _of(self, label: str, tree: str) -> Contents | None:
        """The newest result of a dataset that was made from this tree."""
        store = self._planner.store
        for line in self._lines:
            if line["label"] != label:
                continue
            for record in records.attempts(store, line["key"]):
                if record["attempt"] == line["attempt"] and _read(record, tree):
                    found = self._index(record["outputs"]["main"])
                    if found is not None:
                        return found
        return None

    def _index(self, artifact: str) -> Contents | None:
        store = self._planner.store
        files = {e.path: e.digest for e in artifacts.read_tree(store, artifact) or []}
        try:
            body = json.loads(store.object(files["dataset.json"]).read_bytes())
            return Contents(int(body["rows"]), {str(k): str(v) for k, v in body["schema"].items()})
        except (OSError, ValueError, KeyError, TypeError, AttributeError):
            return None


def _read(record: dict[str, Any], tree: str) -> bool:
    return any(item["digest"] == tree for item in record["inputs"].get("source", []))
