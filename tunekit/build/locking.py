"""Pinning: the sources of a graph that the lock does not have yet. Runs no project code."""

from __future__ import annotations

import platform
from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple

from tunekit import pickled
from tunekit.build import environment
from tunekit.errors import LockError, Problem, SourceError
from tunekit.graph import Graph
from tunekit.lockfile import Environment, Lock, SourceBlock, load_lock, save_lock
from tunekit.plan.inputs import Inputs
from tunekit.plan.project import LOCK
from tunekit.sources.locator import is_later
from tunekit.store.store import Store


def locked_sources(graph: Graph) -> list[str]:
    """Sources that need a pin: all but `path:` ones, which version control pins."""
    return sorted(source for source in graph.sources if not source.startswith("path:"))


def _refuse_later(root: Path, overrides: list[str]) -> None:
    from tunekit.manifest.project import load
    from tunekit.manifest.scope import build_graph

    problems: list[Problem] = []
    build_graph(load(root, overrides, problems), problems, later=False)


def _refuse_pickles(block: SourceBlock) -> None:
    if found := pickled.pickled_weights(f.path for f in block.files):
        raise SourceError(pickled.message(f"`{block.source}`", found), slug=pickled.SLUG, hint=pickled.HINT)


def missing(graph: Graph, lock: Lock) -> list[str]:
    return [s for s in locked_sources(graph) if s not in lock.sources]


class OutOfDate(NamedTuple):
    """What `tunekit lock` would change: pins that the lock does not have, and pins that nothing names any more."""

    missing: list[str]
    gone: list[str]

    def error(self) -> LockError:
        parts = [f"does not pin {', '.join(self.missing)}"] * bool(self.missing)
        parts += [f"pins {', '.join(self.gone)}, which nothing names"] * bool(self.gone)
        return LockError(f"tunekit.lock {' and '.join(parts)}", slug="lock-out-of-date", hint="tunekit lock")


def out_of_date(graph: Graph, lock: Lock) -> OutOfDate | None:
    """None if `tunekit lock` would change nothing."""
    known = locked_sources(graph)
    unpinned = [] if "default" in lock.environments else ["the environment"]
    found = OutOfDate(missing(graph, lock) + unpinned, [s for s in sorted(lock.sources) if s not in known])
    return found if found.missing or found.gone else None


def update(
    root: Path, graph: Graph, inputs: Inputs, store: Store, *, offline: bool, say: Callable[[str], None],
    upgrade: tuple[str, ...] = (), overrides: list[str] | None = None,
) -> Lock:  # fmt: skip
    """Pin what is new (and `upgrade`), drop what is gone, keep the rest; write the lock if its bytes change.
    DeclarationError for sources of a later version: all of them, before anything is fetched."""
    from tunekit.sources.registry import resolve

    if any(is_later(source) for source in locked_sources(graph)):
        _refuse_later(root, overrides or [])
    lock = load_lock(root / LOCK)
    sources: dict[str, SourceBlock] = {}
    for source in locked_sources(graph):
        if source in lock.sources and source not in upgrade:
            sources[source] = lock.sources[source]
            continue
        say(f"locking {source}")
        sources[source] = resolve(source, root=root, cache=store.root / "archives", offline=offline, warn=say)
        if any(label.startswith("model:") for label in graph.sources[source]):
            _refuse_pickles(sources[source])
    profile = lock.environments.get("default")
    if profile is None or upgrade:
        profile = Environment(platform.python_version(), environment.packages(inputs))
    changed = lock._replace(sources=sources, environments={**lock.environments, "default": profile})
    save_lock(changed, root / LOCK)
    return changed
