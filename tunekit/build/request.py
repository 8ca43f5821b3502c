"""A node that must run → the request for its worker."""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping
from functools import cached_property
from pathlib import Path
from typing import Any

from tunekit.build import history
from tunekit.build.fetching import PARTS
from tunekit.errors import StoreError
from tunekit.hashing import hex_of
from tunekit.plan.inputs import unix_lines
from tunekit.plan.planner import Node, Planner
from tunekit.protocol import Input, Request
from tunekit.store import artifacts, records


class Requests:
    """Makes the requests of one build."""

    def __init__(self, planner: Planner, made: Mapping[str, dict[str, Any]]) -> None:
        """`made`: records of this build, by label."""
        self.planner = planner
        self._made = made
        self._snapshots: dict[tuple[str, ...], tuple[dict[str, dict[str, str]], str]] = {}

    def make(
        self, node: Node, cpus: int, offline: bool, finish: bool = False, keep: Callable[[str], None] = lambda _: None
    ) -> Request:
        """Everything that the worker needs, as files it may read. Whoever holds the lease may ask. `keep` is told of
        the snapshot of its code: from then on gc leaves that alone."""
        planner, action = self.planner, node.action
        store = planner.store
        bases = [] if action.label in planner.forced else node.bases  # to do it all again, nothing is looked up
        code, code_root = self._snapshot(node, keep)
        spec = dict(action.spec)
        if action.source:
            spec |= _fetch_spec(planner, action.source, offline)
        folder = str(store.staging(node.key))
        return Request(
            action=action.label,
            key=node.key,
            kind=action.kind,
            spec=spec,
            inputs=self._inputs(node, folder),
            code=code,
            code_root=code_root,
            staging=folder + "/work",
            out=folder + "/out",
            store=str(store.root),
            resources={"cpus": cpus, "gpus": [], "memory": 0},
            seed=action.seed,
            provenance=_provenance(action.inputs),
            finish=finish,
            bases=bases,
            watch=watch_folder(planner.inputs.root, action.label, node.key),
            previous=(self._previous(action.label) or _from_elsewhere(folder)) if bases else "",
        )

    def _snapshot(self, node: Node, keep: Callable[[str], None]) -> tuple[dict[str, dict[str, str]], str]:
        """The action's code and files, in the store: the worker never reads the workspace. Actions with the same
        code share one."""
        digests = self.planner.code_digests(node.action)
        if not digests:
            return {}, ""
        asked = tuple(f"{path}={digest}" for path, digest in sorted(digests.items()))
        while asked not in self._snapshots:
            code, base = _snapshot(self.planner, digests, node.action.files)
            keep("sha256:" + os.path.basename(base))
            if all(os.path.exists(file["snapshot"]) for file in code.values()):  # else a collection was quicker
                self._snapshots[asked] = code, base
        return self._snapshots[asked]

    def _inputs(self, node: Node, folder: str) -> dict[str, list[Input]]:
        planner = self.planner
        out: dict[str, list[Input]] = {}
        for role, edges in node.action.inputs.items():
            found = []
            for i, edge in enumerate(edges):
                source = planner.nodes[edge.action]
                assert source.outputs is not None
                digest = source.outputs[edge.output or "main"]
                if source.in_place:
                    from tunekit.build.in_place import files_in_place

                    found.append(files_in_place(planner, source, digest, Path(folder, "files", f"{role}-{i}")))
                    continue
                path = str(planner.store.view(digest))  # the worker makes it
                origins = self._origins(source) if source.action.kind == "dataset" else []
                found.append(Input(path, digest, source.action.kind, edge.action, origins=origins))
            out[role] = found
        return out

    def _origins(self, dataset: Node) -> list[list[Any]]:
        """Where the record of a dataset says that its rows came from. A hint for errors, in no key."""
        record = self._made.get(dataset.label)
        if record is None and dataset.key:
            record = self.planner.results.record(dataset.key)
        found = record["effective"].get("origins", []) if record else []
        return found if isinstance(found, list) else []

    def _previous(self, label: str) -> str:
        """The list of parts that the label's last result is made of, if its record and the list are still there."""
        record = self.planner.previous(label) or self._told(label)
        return records.parts_list(self.planner.store, record) if record else ""

    def _told(self, label: str) -> dict[str, Any] | None:
        """What the history says that the last result is: of a bundle just opened, and after `tunekit clean`. Not of the
        same key: that is a result which was lost, and what is left of its parts is found without."""
        line = self._history.of(label)
        if line is None or line["key"] == self.planner.nodes[label].key:
            return None
        found = records.attempts(self.planner.store, line["key"])
        return next((r for r in found if r["attempt"] == line["attempt"]), None)

    @cached_property
    def _history(self) -> history.Newest:
        """As it was before this build: of what that executes, the planner knows the last result."""
        return history.Newest(self.planner.inputs.root)


def watch_folder(root: Path, label: str, key: str) -> str:
    """`.tunekit/watch/<kind>/<name>/<key>`, where a worker may write for people to look at; it is not made here.
    StoreError `bad-watch` where a link leads away: a stranger's archive may have one."""
    kind, _, name = label.partition(":")
    path = root / ".tunekit" / "watch" / kind / name / hex_of(key)[:12]
    for folder in (path, *path.parents[:4]):
        if folder.is_symlink():
            raise StoreError(f"{folder} is a link", slug="bad-watch", hint="remove it: trackers write there")
    return str(path)


def _from_elsewhere(folder: str) -> str:
    """The same of another machine, where a remote had it (`build.fetching`)."""
    path = f"{folder}/{PARTS}"
    return path if os.path.isfile(path) else ""


def _snapshot(planner: Planner, digests: dict[str, str], data: list[str]) -> tuple[dict[str, dict[str, str]], str]:
    """Copy code (its line ends as `\\n`) and `data` files into the store. ActionError `edited` if one is not what
    its digest says any more."""
    store, root = planner.store, planner.inputs.root
    entries = []
    for path, digest in sorted(digests.items()):
        body = (root / path).read_bytes()
        if path not in data:
            body = unix_lines(body)
        stored = artifacts.add_bytes(store, body)
        if stored != digest:
            planner.state.doubt(path)
            from tunekit.errors import ActionError

            raise ActionError(f"{path} was edited while the build looked at it", slug="edited", hint="build again")
        entries.append(artifacts.Entry(path, len(body), False, digest))
    base = artifacts.view(store, artifacts.write_tree(store, entries))
    code = {path: {"digest": digest, "snapshot": str(base / path)} for path, digest in digests.items()}
    return code, str(base)


def _fetch_spec(planner: Planner, source: str, offline: bool) -> dict[str, Any]:
    from tunekit.sources.path import resolve_path

    root, cache = planner.inputs.root, planner.store.root / "archives"
    # a path inside the project is pinned by its own bytes, not by the lock; the worker holds what it copies against
    # the digests that the plan has
    block = planner.inputs.lock.sources.get(source) or resolve_path(source, root, planner.inputs.digest)
    spec = {"block": block.to_json(), "root": str(root), "cache": str(cache), "offline": offline}
    if source.startswith("hf:"):
        from tunekit.sources.hub import users_environment

        spec["environment"] = users_environment(offline)  # other workers have a hub cache of their own, and no network
    return spec


def _provenance(inputs: dict[str, Any]) -> dict[str, Any]:
    base = inputs.get("base")
    return {"base_label": base[0].action} if base else {}
