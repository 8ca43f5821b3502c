"""Bringing tunekit.lock up to date: what it does not have yet of a graph. Runs no project code."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from contextlib import AbstractContextManager, nullcontext
from pathlib import Path
from typing import NamedTuple, NoReturn

from tunekit import pickled
from tunekit.build import environment
from tunekit.build.drift import DEFAULT
from tunekit.build.lockdiff import RecipeChange, recipe_changes
from tunekit.errors import LockError, SourceError, TunekitError
from tunekit.graph import Graph
from tunekit.inside import in_project
from tunekit.label import parse_label
from tunekit.lockfile import Environment, Lock, RecipeBlock, SourceBlock, edit_lock, load_lock, recipe_of
from tunekit.plan.inputs import Inputs
from tunekit.plan.project import LOCK
from tunekit.sources.deliver import Progress, no_progress
from tunekit.store.store import Store

# For each source that is pinned: a context with what takes (done, total, unit).
Watch = Callable[[], AbstractContextManager[Progress]]


def _unwatched() -> AbstractContextManager[Progress]:
    return nullcontext(no_progress)


def locked_sources(graph: Graph) -> list[str]:
    """Sources that need a pin: all but `path:` ones in the project, which version control pins."""
    return sorted(source for source in graph.sources if not in_project(source))


def _refuse_pickles(block: SourceBlock) -> None:
    if found := pickled.pickled_weights(f.path for f in block.files):
        raise SourceError(pickled.message(f"`{block.source}`", found), slug=pickled.SLUG, hint=pickled.HINT)


def missing(graph: Graph, lock: Lock, labels: Iterable[str] | None = None) -> list[str]:
    """Sources without a pin: of the whole project, or those that these labels are made from."""
    lacking = [s for s in locked_sources(graph) if s not in lock.sources]
    if labels is None or not lacking:
        return lacking
    needed = set(graph.closure(labels))
    return [s for s in lacking if not needed.isdisjoint(graph.sources[s])]


def recipes_of(graph: Graph) -> dict[str, RecipeBlock]:
    return {name: recipe_of(settings) for name, settings in graph.recipes.items()}


class OutOfDate(NamedTuple):
    """What `tunekit lock` would change: pins that the lock does not have, pins and results that nothing names any
    more, and recipes with other settings."""

    missing: list[str]
    gone: list[str]
    recipes: list[RecipeChange]

    def error(self) -> LockError:
        parts = [f"does not pin {', '.join(self.missing)}"] * bool(self.missing)
        parts += [f"pins {', '.join(self.gone)}, which nothing names"] * bool(self.gone)
        parts += [f"has another {change}" for change in self.recipes]
        return LockError(f"tunekit.lock {' and '.join(parts)}", slug="lock-out-of-date", hint="tunekit lock")


def out_of_date(graph: Graph, lock: Lock) -> OutOfDate | None:
    """None if `tunekit lock` would change nothing."""
    changes = recipe_changes(lock.recipes, recipes_of(graph))
    unpinned = [_profile_name(name) for name in (DEFAULT, *sorted(graph.profiles)) if name not in lock.environments]
    unpinned += [f"recipe {c.name}" for c in changes if c.old is None]
    known = locked_sources(graph)
    gone = [s for s in sorted(lock.sources) if s not in known]
    gone += [_profile_name(name) for name in sorted(lock.environments) if name not in (DEFAULT, *graph.profiles)]
    gone += [f"recipe {c.name}" for c in changes if c.new is None]
    gone += [f"a result of {label}" for label in sorted({r.label for r in lock.results}) if not _declared(label, graph)]
    found = OutOfDate(missing(graph, lock) + unpinned, gone, [c for c in changes if c.old and c.new])
    return found if any(found) else None


def _profile_name(name: str) -> str:
    return "the environment" if name == DEFAULT else f"environment {name}"


def _declared(label: str, graph: Graph) -> bool:
    parsed = parse_label(label)
    return parsed is not None and str(parsed._replace(output="")) in graph.actions


def wants_update(graph: Graph, lock: Lock, labels: list[str]) -> bool:
    """Whether a build of these labels has something to lock: a source, a profile or a recipe that the lock does not
    have as it is. What nothing names any more can wait for `tunekit lock`."""
    changed = [c for c in recipe_changes(lock.recipes, recipes_of(graph)) if c.new]
    return bool(missing(graph, lock, labels) or changed or graph.profiles.keys() - lock.environments.keys())


class Locked(NamedTuple):
    """The lock as it is now; `failed`: sources that could not be pinned, and why."""

    lock: Lock
    failed: dict[str, TunekitError]


def update(
    root: Path, graph: Graph, inputs: Inputs, store: Store, *, offline: bool, say: Callable[[str], None],
    upgrade: tuple[str, ...] = (), overrides: list[str] | None = None, watch: Watch = _unwatched,
    labels: list[str] | None = None,
) -> Locked:  # fmt: skip
    """Pin what is new (and `upgrade`), drop what is gone, keep the rest; write the lock if its bytes change. Recipes
    that `overrides` bring are not written: they are of one call. `watch` gives what one source says how far it is.
    `labels`: pin only what these are made from. A source that cannot be pinned keeps no other from it."""
    before = load_lock(root / LOCK)
    environments = _environments(root, graph, inputs, before, anew=bool(upgrade))
    wanted = {*missing(graph, before, labels), *upgrade}
    pinned: dict[str, SourceBlock] = {}
    failed: dict[str, TunekitError] = {}
    for source in [s for s in locked_sources(graph) if s in wanted]:
        say(f"locking {source}")
        try:
            with watch() as progress:
                pinned[source] = _pin(source, root, graph, store, offline=offline, progress=progress, say=say)
        except TunekitError as e:
            failed[source] = e
    if failed and not pinned and not (root / LOCK).exists():
        return Locked(before, failed)  # a first lock without a source would be no help to anybody

    def change(lock: Lock) -> Lock:
        """What others wrote meanwhile stays."""
        return lock._replace(
            sources={s: b for s in locked_sources(graph) if (b := pinned.get(s) or lock.sources.get(s))},
            environments=environments,
            recipes=lock.recipes if overrides else recipes_of(graph),
            results=[r for r in lock.results if _declared(r.label, graph)],
        )

    for difference in recipe_changes(before.recipes, change(before).recipes):
        say(f"locking {difference}")
    return Locked(edit_lock(root / LOCK, change)[0], failed)


def refuse(failed: dict[str, TunekitError], say: Callable[[str], None]) -> NoReturn:
    """Say each, and raise the last: what could be pinned is in the lock."""
    *others, last = failed.values()
    for error in others:
        say(error.render())
    raise last


def _pin(
    source: str, root: Path, graph: Graph, store: Store, *, offline: bool, progress: Progress,
    say: Callable[[str], None],
) -> SourceBlock:  # fmt: skip
    from tunekit.sources.registry import resolve

    found = resolve(source, root=root, cache=store.root / "archives", offline=offline, progress=progress, warn=say)
    if any(label.startswith("model:") for label in graph.sources[source]):
        _refuse_pickles(found)
    return found


def here(inputs: Inputs) -> Environment:
    """The profile `default`, as it is installed now."""
    return Environment(environment.python(), environment.packages(inputs))


def _environments(root: Path, graph: Graph, inputs: Inputs, lock: Lock, *, anew: bool) -> dict[str, Environment]:
    """`default` as it is installed here, and the others by what lies beside their interpreters. One that is locked
    stays, but for `anew`; where its interpreter is not on this machine, it stays in any case."""
    found = {}
    for name, path in {DEFAULT: "", **graph.profiles}.items():
        old = lock.environments.get(name)
        if old is not None and not anew:
            found[name] = old
        elif name == DEFAULT:
            found[name] = here(inputs)
        elif (now := environment.at(root, path) or old) is not None:
            found[name] = now
        else:
            message = f"environment `{name}`: there is no installation of Python at {path}"
            hint = f"python -m venv {Path(path).parent.parent}, then install what it needs, then `tunekit lock`"
            raise LockError(message, slug="profile-missing", hint=hint)
    return found
