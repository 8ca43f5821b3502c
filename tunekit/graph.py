"""The graph: actions by label in an order in which every input comes before its users."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any, NamedTuple

from tunekit.derive import Action
from tunekit.hashing import digest_of


class Graph(NamedTuple):
    """`actions` is in topological order; `links`: label → labels that must come first. `targets`: label of a
    declared target → label of the action that makes it. `default`: what is built without a label. `versions`:
    kind → version of its room. `sources`, `code` and `files`: what is read from outside → labels that read it.
    `gated`: labels with bounds. `pass_env`: variables that the project asks for. `recipes`: settings of the recipes in
    use. `profiles`: name → interpreter of the environments beside the one that tunekit runs in. `groups`: label of a
    table with a matrix → labels of its points.

    All but `actions` is known without decoding any action (a cached graph decodes those that are asked for).
    """

    actions: Mapping[str, Action]
    links: dict[str, list[str]]
    targets: dict[str, str]
    default: list[str]
    versions: dict[str, int]
    sources: dict[str, list[str]]
    code: dict[str, list[str]]
    files: dict[str, list[str]]
    gated: list[str]
    pass_env: list[str]
    recipes: dict[str, dict[str, Any]]
    profiles: dict[str, str]
    groups: dict[str, list[str]]

    @classmethod
    def of(cls, actions: dict[str, Action], targets: dict[str, str], versions: dict[str, int]) -> Graph:
        """The graph of actions in topological order."""
        sources: dict[str, list[str]] = {}
        code: dict[str, list[str]] = {}
        files: dict[str, list[str]] = {}
        for label, action in actions.items():
            if action.source:
                sources.setdefault(action.source, []).append(label)
            for names, readers in ((action.code, code), (action.files, files)):
                for name in names:
                    readers.setdefault(name, []).append(label)
        links = {label: needs_of(action) for label, action in actions.items()}
        gated = [label for label, action in actions.items() if action.gates]
        return cls(actions, links, targets, [], versions, sources, code, files, gated, [], {}, {}, {})

    def needs(self, label: str) -> list[str]:
        """Labels that must come first."""
        return self.links[label]

    def closure(self, labels: Iterable[str]) -> list[str]:
        """The labels and all that they need, in topological order."""
        wanted: set[str] = set()
        stack = list(labels)
        links = self.links
        while stack:
            label = stack.pop()
            if label not in wanted:
                wanted.add(label)
                stack += links[label]
        return [x for x in links if x in wanted]

    def users(self) -> dict[str, list[str]]:
        """Label → labels that read it."""
        out: dict[str, list[str]] = {label: [] for label in self.links}
        for label, needs in self.links.items():
            for need in needs:
                out[need].append(label)
        return out


def needs_of(action: Action) -> list[str]:
    return [*dict.fromkeys([e.action for edges in action.inputs.values() for e in edges] + action.after)]


def stamp(action: Action, version: int) -> str:
    """Short digest of the declared part of an action's key."""
    roles = {role: len(edges) for role, edges in action.inputs.items()}
    return digest_of([action.kind, version, action.fields, roles, action.packages], "stamp")[7:31]


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
            for need in reversed(needs_of(actions[label])):
                if state.get(need) == 1:
                    return order, [*path[path.index(need) :], need]
                if need in actions and state.get(need) != 2:
                    stack.append((need, 0))
    return order, []
