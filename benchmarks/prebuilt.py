"""Build a generated project in this process, one action after the other: the same keys, records and artifacts as
`tunekit build` makes (checked by `core.py` at 100 stages), without ten thousand forks."""

from __future__ import annotations

import importlib
import shutil
from pathlib import Path

from tunekit.build import environment, history, links
from tunekit.build.request import Requests
from tunekit.kinds import kind_of
from tunekit.plan.project import open_planner, wanted
from tunekit.protocol import Events
from tunekit.store import artifacts, leases, records
from tunekit.store.store import Store


def prebuild(root: Path, store: Store) -> dict[str, str]:
    """Label → artifact digest of every action."""
    planner = open_planner(root, store)
    labels = wanted(planner, [])
    requests = Requests(planner, {})
    out = {}
    for label in planner.graph.closure(labels):
        node = planner.evaluate(label)
        if not (node.outputs and node.present):
            lease = leases.acquire(store, node.key)
            assert lease, f"another process builds {label}"
            request = requests.make(node, 1, True)
            shutil.rmtree(request.out, ignore_errors=True)
            Path(request.out).mkdir(parents=True)
            Path(request.staging).mkdir(parents=True, exist_ok=True)
            for inputs in request.inputs.values():
                for found in inputs:
                    artifacts.view(store, found.digest)
            produced = importlib.import_module(kind_of(request.kind).room + ".run").run(request, Events(label, -1))
            node.outputs = {r: artifacts.seal(store, Path(request.out) / name) for r, name in produced.items()}
            record = {
                "key": node.key, "attempt": records.new_attempt(), "label": label, "kind": node.action.kind,
                "preimage": node.image, "inputs": {}, "outputs": node.outputs, "effective": {}, "seconds": 0,
                "environment": environment.describe(planner.inputs),
            }  # fmt: skip
            records.add(store, record)
            history.append(root, label, record, "prebuilt")
            shutil.rmtree(Path(request.staging).parent)
            lease.release()
            node.present, node.state = True, "fresh"
            if not node.action.source:
                planner.remember(node)
        for tree in (node.outputs or {}).values():
            planner.presence.present(tree)
        out[label] = (node.outputs or {})["main"]
    made = links.point(root, planner, labels)
    planner.state.complete([], made)
    planner.save()
    return out
