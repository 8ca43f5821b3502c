"""The parsed graph as a cache file: its shape in one line of JSON, then a line for every action.

Most verbs touch few actions, so an action is decoded when it is asked for: at 10,000 of them that is the
difference between 100 ms and 10 ms.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from typing import Any

from tunekit.derive import Action, Edge
from tunekit.graph import Graph

_DEFAULTS = Action._field_defaults


class Packed(Mapping[str, Action]):
    """Actions by label, in order, each decoded at its first use."""

    def __init__(self, labels: list[str], lines: list[bytes]) -> None:
        if len(labels) != len(lines):
            raise ValueError("not a line an action")
        self._lines = dict(zip(labels, lines, strict=True))
        self._found: dict[str, Action] = {}

    def __getitem__(self, label: str) -> Action:
        found = self._found.get(label)
        if found is None:
            found = self._found[label] = _decoded(self._lines[label])
        return found

    def __contains__(self, label: object) -> bool:
        return label in self._lines

    def __iter__(self) -> Iterator[str]:
        return iter(self._lines)

    def __len__(self) -> int:
        return len(self._lines)


def pack(graph: Graph) -> tuple[dict[str, Any], list[bytes]]:
    """The shape of a graph, and a line for every action."""
    place = {label: i for i, label in enumerate(graph.links)}
    shape = graph._asdict() | {
        "actions": list(graph.links),
        "links": [[place[need] for need in needs] for needs in graph.links.values()],
        **{name: _places(getattr(graph, name), place) for name in ("sources", "code", "files")},
    }
    return shape, [_encoded(action) for action in graph.actions.values()]


def unpack(shape: dict[str, Any], lines: list[bytes]) -> Graph:
    """Raises ValueError, KeyError, TypeError or IndexError for what `pack` did not make."""
    labels = shape["actions"]
    body = shape | {
        "actions": Packed(labels, lines),
        "links": {label: [labels[i] for i in needs] for label, needs in zip(labels, shape["links"], strict=True)},
        **{name: _labels(shape[name], labels) for name in ("sources", "code", "files")},
    }
    return Graph(**body)


def _places(readers: dict[str, list[str]], place: dict[str, int]) -> dict[str, list[int]]:
    return {name: [place[label] for label in labels] for name, labels in readers.items()}


def _labels(readers: dict[str, list[int]], labels: list[str]) -> dict[str, list[str]]:
    return {name: [labels[i] for i in places] for name, places in readers.items()}


def _encoded(action: Action) -> bytes:
    more = {k: v for k, v in zip(Action._fields[4:], action[4:], strict=True) if v != _DEFAULTS[k]}
    return json.dumps([list(action[:4]), more], separators=(",", ":")).encode()


def _decoded(line: bytes) -> Action:
    head, more = json.loads(line)
    if "inputs" in more:
        more["inputs"] = {role: [Edge(*e) for e in edges] for role, edges in more["inputs"].items()}
    return Action(*head, **more)
