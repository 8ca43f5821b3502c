"""Opening a project: the state, the graph (cached while no TOML or code file changed), the lock, the planner."""

from __future__ import annotations

import os
from pathlib import Path

from tunekit.errors import DeclarationError, Problem, Problems, UsageError, nearest
from tunekit.graph import Graph
from tunekit.label import parse_label
from tunekit.lockfile import load_lock
from tunekit.plan.inputs import Inputs, expect_sources, sources_hold
from tunekit.plan.planner import Planner
from tunekit.plan.state import State
from tunekit.store.store import Store

LOCK = "tunekit.lock"


def open_planner(root: Path, store: Store, overrides: list[str] | None = None, *, keep: bool = True) -> Planner:
    """A planner on the project as it is now. With `overrides` nothing is cached: they are of one call only.
    `keep=False`: nothing at all is written to the project (verbs that only look).

    Raises DeclarationError with every problem of every TOML file, and LockError.
    """
    state = State.load(root)
    graph = None if overrides else state.load_graph()
    if graph is None or not sources_hold(root, state):
        from tunekit.manifest.project import load
        from tunekit.manifest.scope import build_graph

        state.parsed = True
        problems = Problems()
        manifest = load(root, overrides or [], problems)
        graph, code = build_graph(manifest, problems)
        if overrides or not keep:
            state.frozen = True
        else:
            expect_sources(root, state, graph.sources)
            paths = [*manifest.files, *manifest.folders, *code, root / LOCK]
            state.save_graph(graph, list(dict.fromkeys(_relative(p, root) for p in paths)))
    state.frozen = state.frozen or not keep
    return Planner(graph, state, store, Inputs(root, state, load_lock(root / LOCK)))


def _relative(path: Path, root: Path) -> str:
    return os.path.relpath(path, root) if path.is_relative_to(root) else str(path)


def _points(graph: Graph, text: str) -> list[str]:
    """The points of a label with a matrix, with its output and step; any other text as it is."""
    label = parse_label(text)
    points = graph.groups.get(label.target) if label else None
    return [text] if label is None or points is None else [p + text[len(label.target) :] for p in points]


def wanted_one(planner: Planner, text: str) -> str:
    """The action label behind one label. UsageError `matrix-label` where that is many."""
    found = wanted(planner, [text])
    if len(found) > 1:
        message = f"`{text}` has a matrix: it is {len(found)} targets, and one is asked for"
        raise UsageError(message, slug="matrix-label", hint="name one: " + ", ".join(found))
    return found[0]


def wanted(planner: Planner, request: list[str]) -> list[str]:
    """Action labels behind what was asked for (`run:x`, `run:x#tokens`, `run:x@best`); the default without a label. A
    label with a matrix is all of its points."""
    out = []
    graph = planner.graph
    for text in [point for asked in request or graph.default for point in _points(graph, asked)]:
        label = parse_label(text)
        name = str(label._replace(output="")) if label else text
        if name not in graph.actions:
            raise UsageError(f"there is no `{text}`", slug="unknown-label", hint=nearest(text, list(graph.targets)))
        out.append(name)
    if not out:
        raise DeclarationError([Problem("no-targets", "the project declares nothing to build", "tunekit.toml")])
    return list(dict.fromkeys(out))
