"""A node that must run → the request for its worker, written into its staging directory."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

from tunekit.kinds import kind_of
from tunekit.plan.inputs import unix_lines
from tunekit.plan.planner import Node, Planner
from tunekit.plan.preimage import part_bases
from tunekit.protocol import Input, Request
from tunekit.store import artifacts


def write_request(planner: Planner, node: Node, cpus: int, offline: bool) -> Path:
    """Everything that the worker needs, as files it may read. Returns the request's path."""
    store, action = planner.store, node.action
    forced = action.label in planner.forced or not node.image  # to do it all again, nothing is looked up
    folder = store.staging(node.key)
    folder.mkdir(parents=True, exist_ok=True)
    code, code_root = _snapshot(planner, node)
    spec = dict(action.spec)
    if action.source:
        spec |= _fetch_spec(planner, action.source, offline)
    request = Request(
        action=action.label,
        key=node.key,
        kind=action.kind,
        spec=spec,
        inputs=_inputs(planner, node),
        code=code,
        code_root=code_root,
        staging=str(folder / "work"),
        out=str(folder / "out"),
        store=str(store.root),
        resources={"cpus": cpus, "gpus": [], "memory": 0},
        seed=action.seed,
        provenance=_provenance(action.inputs),
        bases=[] if forced else part_bases(node.image, kind_of(action.kind)),
        previous="" if forced else _previous(planner, action.label),
    )
    path = folder / "request.json"
    spare = folder / f"request.{os.getpid()}"
    spare.write_text(request.to_json())
    os.replace(spare, path)
    return path


def _inputs(planner: Planner, node: Node) -> dict[str, list[Input]]:
    out: dict[str, list[Input]] = {}
    for role, edges in node.action.inputs.items():
        found = []
        for edge in edges:
            source = planner.nodes[edge.action]
            assert source.outputs is not None
            digest = source.outputs[edge.output or "main"]
            found.append(Input(str(planner.view(digest)), digest, source.action.kind, edge.action))
        out[role] = found
    return out


def _previous(planner: Planner, label: str) -> str:
    """The list of parts that the label's last result is made of, if its record and the list are still there."""
    record = planner.previous(label)
    listed = record["parts"].get("list") if record and isinstance(record.get("parts"), dict) else None
    path = planner.store.object(listed) if listed else None
    return str(path) if path and path.is_file() else ""


def _snapshot(planner: Planner, node: Node) -> tuple[dict[str, dict[str, str]], str]:
    """The action's code and files, copied into the store: the worker never reads the workspace."""
    digests = planner.code_digests(node.action)
    if not digests:
        return {}, ""
    store, root = planner.store, planner.inputs.root
    entries = []
    for path, digest in sorted(digests.items()):
        data = (root / path).read_bytes()
        if path not in node.action.files:
            data = unix_lines(data)
        stored = artifacts.add_bytes(store, data)
        if stored != digest:
            planner.state.changed.add(path)
            from tunekit.errors import ActionError

            raise ActionError(f"{path} was edited while the build looked at it", slug="edited", hint="build again")
        entries.append(artifacts.Entry(path, len(data), False, digest))
    base = artifacts.view(store, artifacts.write_tree(store, entries))
    code = {path: {"digest": digest, "snapshot": str(base / path)} for path, digest in digests.items()}
    return code, str(base)


def _fetch_spec(planner: Planner, source: str, offline: bool) -> dict[str, Any]:
    from tunekit.sources.path import resolve_path

    root, cache = planner.inputs.root, planner.store.root / "archives"
    # a path inside the project is pinned by its own bytes, not by the lock
    block = planner.inputs.lock.sources.get(source) or resolve_path(source, root)
    return {"block": block.to_json(), "root": str(root), "cache": str(cache), "offline": offline}


def _provenance(inputs: dict[str, Any]) -> dict[str, Any]:
    base = inputs.get("base")
    return {"base_label": base[0].action} if base else {}
