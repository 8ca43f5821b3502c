"""A record in the words of the project that bundles it. A store is shared: the attempt that counts may have been made
by another project, under other labels, from a source with another name, and these are nobody's business."""

from __future__ import annotations

import json
import re
from typing import Any

from tunekit.plan.planner import Node, Planner

_FREE = ("effective", "warnings", "gates")  # where labels may stand anywhere


def in_own_words(planner: Planner, node: Node, record: dict[str, Any]) -> dict[str, Any]:
    """The same attempt of the same key; label, source, settings and the labels of inputs are those of `node`."""
    action = node.action
    digests = planner.input_digests(action)
    inputs = {
        role: [
            {"label": e.action, "output": e.output or "main", "digest": d}
            for e, d in zip(edges, digests[role], strict=True)
        ]
        for role, edges in action.inputs.items()
    }
    own = {"label": node.label, "source": action.source, "spec": action.spec, "inputs": inputs}
    foreign = {name: value for name, value in own.items() if record[name] != value}
    if not foreign:
        return record
    text = json.dumps({name: record[name] for name in _FREE}, ensure_ascii=False)
    for old, new in _renamed(record, own).items():
        text = new.join(re.split(re.escape(old) + r"(?![\w-])", text))
    return {**record, **json.loads(text), **foreign, "environment": {**record["environment"], "commit": ""}}


def _renamed(record: dict[str, Any], own: dict[str, Any]) -> dict[str, str]:
    """Labels and the source of the other project → ours."""
    found = {record["label"]: own["label"], record["source"]: own["source"]}
    for role, items in record["inputs"].items():
        for old, new in zip(items, own["inputs"].get(role, []), strict=False):
            found[old["label"]] = new["label"]
    return {_inside_json(old): _inside_json(new) for old, new in found.items() if old != new}


def _inside_json(text: str) -> str:
    return json.dumps(text, ensure_ascii=False)[1:-1]
