"""Pulling: results that the remote has, into this store, without executing anything."""

from __future__ import annotations

from typing import NamedTuple

from tunekit.build import links
from tunekit.build.fetching import Fetching, Listener
from tunekit.plan.planner import Node, Planner
from tunekit.plan.remote import Known
from tunekit.store import records


class Pulled(NamedTuple):
    """`fetched`: labels whose results came; `known`: those whose records came and whose bytes nothing needs here;
    `fresh`: results that were here; `missing`: label → why it would have to be executed; `conflicts`: label → what the
    remote has instead of the result that is here, and stays."""

    fetched: list[str]
    known: list[str]
    fresh: list[str]
    missing: dict[str, str]
    conflicts: dict[str, str]


def pull(planner: Planner, elsewhere: Known, labels: list[str], listen: Listener) -> Pulled:
    """Bring the results of `labels`, and the records of what they were made from."""
    planner.plan(labels)
    links.register(planner.inputs.root, planner.store)  # from here on gc knows whose results these are
    before = {x for x, n in planner.nodes.items() if n.outputs and records.any_of(planner.store, n.key)}
    fetching = Fetching(planner, listen)
    nodes = fetching.all(labels)
    conflicts = _conflicts(planner, elsewhere, [label for label in nodes if label in before])
    came = [label for label, n in nodes.items() if n.key in elsewhere.records and label not in before]
    missing = {x: _why_missing(planner, elsewhere, nodes[x]) for x in labels if not nodes[x].present}
    known = [label for label in came if label not in fetching.fetched and label not in missing]
    fresh = [x for x in labels if nodes[x].present and x not in fetching.fetched]
    return Pulled(list(fetching.fetched), known, fresh, missing, conflicts)


def _why_missing(planner: Planner, elsewhere: Known, node: Node) -> str:
    promoted, theirs = planner.results.promoted(node.key), elsewhere.records.get(node.key)
    if promoted and theirs and theirs["outputs"] != promoted.outputs:
        return f"the remote has attempt {theirs['attempt']}; tunekit.lock promotes {promoted.attempt}, other bytes"
    return "; ".join(map(str, node.reasons)) or "not in the remote"


def _conflicts(planner: Planner, elsewhere: Known, labels: list[str]) -> dict[str, str]:
    """Of results that were here before: where the remote has other bytes for the same key."""
    keys = {label: planner.nodes[label].key for label in labels if not planner.nodes[label].action.source}
    theirs = elsewhere.remote.lookup(list(keys.values()), planner.results.promoted)
    found = {}
    for label, key in keys.items():
        ours, other = planner.results.record(key), theirs.get(key)
        if ours and other and ours["outputs"] != other["outputs"]:
            found[label] = f"the remote has attempt {other['attempt']}; attempt {ours['attempt']} of here stays"
    return found
