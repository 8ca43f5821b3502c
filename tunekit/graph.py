"""The graph: actions by label in an order in which every input comes before its users."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any, NamedTuple

from tunekit.derive import Action, Edge
from tunekit.errors import Problem
from tunekit.hashing import digest_of


class Graph(NamedTuple):
    """`targets`: label of a declared target → label of the action that makes it. `default`: what is built
    without a label. `actions` is in topological order. `stamps`: label → a short digest of all that enters the
    action's key from the declaration."""

    actions: dict[str, Action]
    targets: dict[str, str]
    default: list[str]
    versions: dict[str, int]  # kind → version of its room
    stamps: dict[str, str]

    def needs(self, label: str) -> list[str]:
        """Labels that must come first."""
        action = self.actions[label]
        return [*dict.fromkeys([e.action for edges in action.inputs.values() for e in edges] + action.after)]

    def closure(self, labels: Iterable[str]) -> list[str]:
        """The labels and all that they need, in topological order."""
        wanted: set[str] = set()
        stack = list(labels)
        while stack:
            label = stack.pop()
            if label not in wanted:
                wanted.add(label)
                stack.extend(self.needs(label))
        return [x for x in self.actions if x in wanted]

    def users(self) -> dict[str, list[str]]:
        """Label → labels that read it."""
        out: dict[str, list[str]] = {label: [] for label in self.actions}
        for label in self.actions:
            for need in self.needs(label):
                out[need].append(label)
        return out

    def to_json(self) -> dict[str, Any]:
        return {
            "actions": [[list(a[:4]), *_compact(a)] for a in self.actions.values()],
            "targets": self.targets,
            "default": self.default,
            "versions": self.versions,
            "stamps": self.stamps,
        }

    @classmethod
    def from_json(cls, body: dict[str, Any]) -> Graph:
        actions = {}
        for head, more in body["actions"]:
            if "inputs" in more:
                more["inputs"] = {r: [Edge(*e) for e in edges] for r, edges in more["inputs"].items()}
            actions[head[0]] = Action(*head, **more)
        return cls(actions, body["targets"], body["default"], body["versions"], body["stamps"])


def stamp(action: Action, version: int) -> str:
    """Short digest of the declared part of an action's key."""
    roles = {role: len(edges) for role, edges in action.inputs.items()}
    return digest_of([action.kind, version, action.fields, roles, action.packages], "stamp")[7:31]


_DEFAULTS = Action._field_defaults


def _compact(action: Action) -> list[dict[str, Any]]:
    return [{k: v for k, v in zip(Action._fields[4:], action[4:], strict=True) if v != _DEFAULTS[k]}]


def ordered(actions: dict[str, Action]) -> tuple[dict[str, Action], list[str]]:
    """Topological order (depth first, no recursion: chains may be long), and the labels of a cycle if there is one."""
    order: dict[str, Action] = {}
    state: dict[str, int] = {}
    for start in actions:
        stack: list[tuple[str, int]] = [(start, 0)]
        path: list[str] = []
        while stack:
            label, phase = stack.pop()
            if phase:
                state[label] = 2
                path.pop()
                order[label] = actions[label]
                continue
            if state.get(label) == 2:
                continue
            if state.get(label) == 1:
                return order, [*path[path.index(label) :], label]
            state[label] = 1
            path.append(label)
            stack.append((label, 1))
            action = actions[label]
            needs = [e.action for edges in action.inputs.values() for e in edges] + action.after
            for need in reversed(needs):
                if state.get(need) == 1:
                    return order, [*path[path.index(need) :], need]
                if state.get(need) != 2:
                    stack.append((need, 0))
    return order, []


def cycle_problem(cycle: list[str]) -> Problem:
    return Problem("cycle", "targets need each other: " + " → ".join(cycle), hint="one of these must not use the next")
