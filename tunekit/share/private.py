"""What must not leave: `private = true` of a target, and of all that is derived from it (decision 10)."""

from __future__ import annotations

from tunekit.graph import Graph


def private(graph: Graph) -> dict[str, str]:
    """Label of every private action → label of the target that says so.

    `private = false` in a target ends it at that target's result: what its author derived may leave, though neither
    what it was derived from nor the target's implicit steps (`run:x#tokens` holds the rows) may.
    """
    found: dict[str, str] = {}
    for label, needs in graph.links.items():
        target = label.partition("#")[0]
        said = graph.actions[target].operational.get("private") if target in graph.actions else None
        origin = target if said else next((found[n] for n in needs if n in found), "")
        if origin and not (said is False and label == target):
            found[label] = origin
    return found
