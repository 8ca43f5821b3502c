"""The project's own part of a bundle: the TOML, the lock, the code and the `path:` files that some targets need.

Where other targets are left out, so is what the project says of them: a TOML file is written anew from its values
(without comments), and the lock keeps the pins that are named. What is private is not even mentioned.
"""

from __future__ import annotations

import os
import tomllib
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from tunekit.errors import DeclarationError, Problem, UsageError
from tunekit.graph import Graph
from tunekit.inside import is_outside
from tunekit.kinds import target_kinds
from tunekit.lockfile import dump_lock, load_lock
from tunekit.manifest.find import MANIFEST
from tunekit.manifest.project import Manifest, load
from tunekit.manifest.scope import build_graph
from tunekit.plan.planner import Planner
from tunekit.plan.project import LOCK
from tunekit.sources.files import files_of_path
from tunekit.sources.locator import parse_locator
from tunekit.sources.select import is_glob, split_glob

Files = dict[str, Path | bytes]  # path in the project → the file it is, or what it says


def project_files(planner: Planner, labels: list[str]) -> Files:
    """Everything of the project that `labels` (of actions) and all they need are planned from, sorted by path.

    UsageError `bundle-hidden-file`; DeclarationError as from reading the project.
    """
    root = planner.inputs.root
    problems: list[Problem] = []
    manifest = load(root, [], problems)
    if problems:
        raise DeclarationError(problems)
    graph = planner.graph
    needed = {label.partition("#")[0] for label in graph.closure(labels)}
    points = [p for group in graph.groups.values() if not needed.isdisjoint(group) for p in group]  # one table has all
    needed |= {label.partition("#")[0] for label in graph.closure(points)}
    kept = {name: t for name, t in manifest.targets.items() if name in needed or t.label.kind == "adapter"}
    whole = len(kept) == len(manifest.targets)
    reduced = manifest._replace(targets=kept, code=[root / t.kind.file for t in kept.values() if t.kind.file])
    tables = {group for group, members in graph.groups.items() if not needed.isdisjoint(members)}
    reduced = reduced._replace(groups={g: members for g, members in manifest.groups.items() if g in tables})
    graph, read = build_graph(reduced, problems)
    named = {*kept, *tables}  # of tables, as they stand in the TOML
    recipes = _recipes(manifest, named)
    found: Files = {str(path.relative_to(root)): path for path in read}
    if outside := sorted(source for source in graph.sources if is_outside(source)):
        hint = "copy the files into the project: they are on this machine only"
        raise UsageError(f"not bundled: {', '.join(outside)}", slug="path-outside-project", hint=hint)
    found |= _code(planner, graph) | dict(_path_files(root, graph))
    found |= {name: recipes[name] for name in recipes}
    found |= _documents(manifest, named, labels, whole=whole)
    found |= _lock(manifest, graph, named, whole=whole)
    for path in found:
        if any(part.startswith(".") for part in path.split("/")):
            hint = "rename it: whoever opens a bundle does not want hidden files from it"
            raise UsageError(f"a bundle carries no hidden file: {path}", slug="bundle-hidden-file", hint=hint)
    return dict(sorted(found.items()))


def _code(planner: Planner, graph: Graph) -> Files:
    """Code files with all that they import, and files that code reads."""
    root = planner.inputs.root
    return {path: root / path for action in graph.actions.values() for path in planner.code_digests(action)}


def _path_files(root: Path, graph: Graph) -> Iterator[tuple[str, Path]]:
    """The files of `path:` sources, where the source names them (a link is carried as the file that it points to)."""
    for source in graph.sources:
        if not source.startswith("path:"):
            continue
        name = os.path.normpath(parse_locator(source).name)
        glob = is_glob(name) and not (root / name).exists()
        base = split_glob(name)[0] if glob else name
        for path, real in files_of_path(source, root):
            yield os.path.normpath(f"{base}/{path}" if (root / base).is_dir() else base).lstrip("/"), real


def _recipes(manifest: Manifest, kept: set[str]) -> dict[str, Path]:
    """The project's own recipes that kept runs name."""
    used = _used_recipes(manifest, kept)
    found = {name: r.path for name, r in manifest.recipes.items() if name in used}
    return {str(p.relative_to(manifest.root)): p for p in found.values() if p.is_relative_to(manifest.root / "recipes")}


def _used_recipes(manifest: Manifest, kept: set[str]) -> set[str]:
    tables = [table for path in _toml_files(manifest) for table in _values(path).get("run", {}).items()]
    return {values["recipe"] for name, values in tables if f"run:{name}" in kept and "recipe" in values}


def _toml_files(manifest: Manifest) -> list[Path]:
    """The files that declare targets."""
    recipes = {r.path for r in manifest.recipes.values()}
    return [path for path in manifest.files if path not in recipes]


def _values(path: Path) -> dict[str, Any]:
    return tomllib.loads(path.read_text(encoding="utf-8"))


def _documents(manifest: Manifest, kept: set[str], labels: list[str], *, whole: bool) -> Files:
    if whole:
        return {str(path.relative_to(manifest.root)): path for path in _toml_files(manifest)}
    import tomlkit

    default = [label for label in dict.fromkeys(label.partition("#")[0] for label in labels)]
    out: Files = {}
    for path in _toml_files(manifest):
        name, values = str(path.relative_to(manifest.root)), _only(_values(path), kept)
        if name == MANIFEST:
            values["project"] |= {"default": default}
        if values:
            out[name] = tomlkit.dumps(values).encode()
    return out


def _only(values: dict[str, Any], kept: set[str]) -> dict[str, Any]:
    """A file's tables without the targets that are not kept."""
    out = {}
    for kind, tables in values.items():
        if kind not in target_kinds():
            out[kind] = tables
        elif some := {name: table for name, table in tables.items() if f"{kind}:{name}" in kept}:
            out[kind] = some
    return out


def _lock(manifest: Manifest, graph: Graph, kept: set[str], *, whole: bool) -> Files:
    path = manifest.root / LOCK
    if not path.is_file() or whole:
        return {LOCK: path} if path.is_file() else {}
    lock, used = load_lock(path), _used_recipes(manifest, kept)
    reduced = lock._replace(
        sources={source: block for source, block in lock.sources.items() if source in graph.sources},
        results=[r for r in lock.results if r.label.partition("#")[0].partition("@")[0] in kept],
        recipes={name: block for name, block in lock.recipes.items() if name in used},
    )
    return {LOCK: dump_lock(reduced).encode()}
