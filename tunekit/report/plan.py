"""A plan for people and for programs: every action with its state and the reason that names the change."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from tunekit.plan.chunks import chunks_of
from tunekit.plan.planner import FRESH, REMOTE, Node, Planner
from tunekit.plan.reason import Reason
from tunekit.report.chunks import changed


def show_plan(planner: Planner, labels: list[str], *, as_json: bool, fresh: bool = False) -> int:
    """Print what a build of the labels would do; `fresh`: also the actions that it leaves alone. Exit code 0."""
    nodes = planner.plan(labels)
    if as_json:
        from tunekit.cli.command import print_json

        print_json("plan", plan_json(planner, labels, nodes))
        return 0
    runs, fetched = (sum(n.run for n in nodes.values()), sum(n.fetch for n in nodes.values()))
    counts = [f"{runs} to run"] * bool(runs) + [f"{fetched} to fetch"] * bool(fetched)
    rest = len(nodes) - runs - fetched
    print(", ".join([*counts, f"{rest} fresh"]) if counts else f"nothing to do: {len(nodes)} actions fresh")
    words = {label: word for label, n in nodes.items() if (word := _word(n)) != FRESH or fresh}
    width = max(map(len, words.values()), default=0)
    for label, word in words.items():
        print(f"  {word:<{width}}  {label}{_because(planner, nodes[label])}")
    return 0


def _word(node: Node) -> str:
    """What a build does with it: `run` for all that it executes, `fetch` from the remote, else the state."""
    if node.fetch:
        return "fetch"
    return "run" if node.run and node.state not in ("blocked", "unlocked") else node.state


def _because(planner: Planner, node: Node) -> str:
    texts = reasons(node)
    found = chunks_of(planner, node)
    if found and found.changed < found.total:
        texts.append(changed(*found))
    return f"  ({'; '.join(texts)})" if texts else ""


def reasons(node: Node) -> list[str]:
    return [str(r) for r in node.reasons] if node.state not in (FRESH, REMOTE) or node.run else []


def reason_json(reason: Reason) -> dict[str, Any]:
    return {**reason._asdict(), "text": str(reason)}


def node_json(planner: Planner, label: str, node: Node) -> dict[str, Any]:
    return {
        "label": label,
        "kind": node.action.kind,
        "state": node.state,
        "run": node.run,
        "fetch": node.fetch,
        "key": node.key or None,
        "outputs": node.outputs,
        "reasons": [reason_json(r) for r in node.reasons] if reasons(node) else [],
        "chunks": found._asdict() if (found := chunks_of(planner, node)) else None,
        "needs": planner.graph.needs(label),
    }


def plan_json(planner: Planner, labels: Iterable[str], nodes: dict[str, Node]) -> dict[str, Any]:
    runs = sum(n.run for n in nodes.values())
    return {
        "targets": list(labels),
        "run": runs,
        "fresh": len(nodes) - runs,
        "fetch": sum(n.fetch for n in nodes.values()),
        "actions": [node_json(planner, label, node) for label, node in nodes.items()],
    }
