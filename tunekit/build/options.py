"""What a build is asked for, and what it came to."""

from __future__ import annotations

from typing import Any, NamedTuple

from tunekit.errors import TunekitError
from tunekit.plan.planner import Node, Planner


class Options(NamedTuple):
    """How to build. `jobs`: actions at once; 0: as many as cores allow. `finish`: keys of runs that are
    ended where they stand. `audit`: say what actions read that is none of their inputs."""

    jobs: int = 0
    keep_going: bool = False
    trust: bool = False
    offline: bool = False
    finish: frozenset[str] = frozenset()
    audit: bool = False


class Result(NamedTuple):
    """`executed`: labels that ran, in order of their end; `failed`: label → error; `fresh`: how many had their
    result and did not run; `records`: label → record; `fetched`: those of the fresh that came from the remote."""

    executed: list[str]
    failed: dict[str, TunekitError]
    fresh: int
    records: dict[str, dict[str, Any]]
    fetched: list[str] = []


def plan_event(planner: Planner, nodes: dict[str, Node], total: int) -> dict[str, Any]:
    """What a plan executes, as the listener is told. `total`: with what was executed in rounds before."""
    order = [
        {"label": label, "reasons": [str(r) for r in n.reasons], "needs": planner.graph.needs(label)}
        for label, n in nodes.items()
        if n.run
    ]
    return {"type": "plan", "total": total, "fresh": len(nodes) - total, "order": order}
