"""What is private (decision 10): a target that says so, and all that is made from it, unless that says `false`."""

from __future__ import annotations

from tunekit.graph import Graph
from tunekit.label import parse_label


def private_labels(graph: Graph, labels: list[str]) -> dict[str, str]:
    """Of the labels and all they need: label → the target whose `private = true` it comes from.

    A step of a target (`run:x#tokens`) is private where its target says so, or where what it reads is: the target's
    `private = false` is about its result alone.
    """
    said: dict[str, bool | None] = {}
    found: dict[str, str] = {}
    for label in graph.closure(labels):
        parsed = parse_label(label)
        target = parsed.target if parsed else label
        if target not in said:
            said[target] = graph.actions[target].operational.get("private") if target in graph.actions else None
        if said[target] is True:
            found[label] = target
        elif said[target] is False and label == target:
            continue
        else:
            origin = next((found[need] for need in graph.needs(label) if need in found), "")
            if origin:
                found[label] = origin
    return found


def because(label: str, origin: str) -> str:
    """Why a label of `private_labels` stays here, as it is said after its name."""
    return "is private" if label.partition("#")[0] == origin else f"needs {origin}, which is private"
