"""`tunekit bundle`: what a project is and what it made, in one archive (docs/bundle.md).

    bundle/bundle.json                     first: who made it, for which labels, and every other file with its sha256
    bundle/project/…                       TOML, lock, code, files of `path:` sources
    bundle/records/<key>/<attempt>.json    what is known of a result; `.parts` beside it
    bundle/trees/<hex>                     an artifact: its files
    bundle/objects/<hex>                   their bytes

The bytes of the archive are a function of what is in it: sorted names, fixed times, owners and modes.
"""

from __future__ import annotations

import json
import os
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, NamedTuple

import tunekit
from tunekit.errors import StoreError, UsageError
from tunekit.hashing import canonical, digest_of, hex_of, sha256_bytes, sha256_file
from tunekit.parts import Made, listed
from tunekit.plan.planner import FRESH, Node, Planner
from tunekit.plan.project import open_planner, wanted
from tunekit.share.bundle_archive import FIRST, SCHEMA, Member, suffix_of, write_archive
from tunekit.share.bundle_project import Files, project_files
from tunekit.share.bundle_words import in_own_words
from tunekit.share.private import because, private_labels
from tunekit.share.remote_record import Machine, Unfit, outgoing
from tunekit.store import artifacts, records
from tunekit.store.artifacts import Entry
from tunekit.store.store import Store


class Written(NamedTuple):
    """What `write` did. `left_out`: private label → label of the target that says so."""

    labels: list[str]
    left_out: dict[str, str]
    files: int
    artifacts: int
    size: int
    sha256: str


class Choice(NamedTuple):
    """`thin`: the artifacts of the labels alone, not of all that they need, and no parts. `logs`: what actions
    printed, too."""

    thin: bool = False
    logs: bool = False


def write(planner: Planner, request: list[str], target: Path, choice: Choice) -> Written:
    """Write the bundle of the requested labels (default: those of the project) to `target`, all or nothing.

    UsageError: `private` (a label that was named), `nothing-to-bundle`, `not-built`, `bundle-hidden-file`,
    `names-this-machine`, `edited` (a file that changed meanwhile).
    """
    suffix_of(target.name)
    labels, left_out = _leaving(planner, request)
    files = project_files(planner, labels)
    with _staged(files, planner.store) as folder:
        staged = open_planner(folder, planner.store, keep=False)
        _same_plan(planner, staged, labels)
        machine = Machine.here(planner.inputs.root, planner.store.root)
        members = [*_project_members(files, folder), *_store_members(staged, labels, choice, machine)]
        results = {label: _result(staged.nodes[label]) for label in labels}
        head = _head(labels, results, members)
        digest = write_archive(target, [head, *members])
    trees = sum(m.path.startswith("trees/") for m in members)
    return Written(labels, left_out, len(files), trees, target.stat().st_size, digest)


def _leaving(planner: Planner, request: list[str]) -> tuple[list[str], dict[str, str]]:
    """Labels that may leave and are built, and those of the default that may not."""
    labels = wanted(planner, request)
    hidden = private_labels(planner.graph, labels)
    reasons: dict[str, str] = {}
    for label in labels:
        origin = next((hidden[x] for x in planner.graph.closure([label]) if x in hidden), "")
        if origin:
            reasons[label] = origin
    if request and reasons:
        told = "; ".join(f"{label} {because(label, origin)}" for label, origin in reasons.items())
        hint = "private results stay here (docs/bundle.md); `tunekit export` writes one for yourself"
        raise UsageError(f"not bundled: {told}", slug="private", hint=hint)
    labels = [label for label in labels if label not in reasons]
    if not labels:
        told = ", ".join(f"{label} {because(label, origin)}" for label, origin in reasons.items())
        raise UsageError(f"nothing is left to bundle: {told}", slug="nothing-to-bundle", hint="name other labels")
    nodes = planner.plan(labels)
    stale = [label for label in labels if nodes[label].state != FRESH or not nodes[label].present]
    if stale:
        hint = "tunekit build " + " ".join(stale)
        raise UsageError(f"not built as declared now: {', '.join(stale)}", slug="not-built", hint=hint)
    return labels, reasons


# -- the project's part --------------------------------------------------------------------------


@contextmanager
def _staged(files: Files, store: Store) -> Iterator[Path]:
    """The project as it will be opened. Large files are linked, not copied, where the file system can."""
    folder = store.tmp / f"bundle-{os.getpid()}-{os.urandom(4).hex()}"
    try:
        for name, origin in files.items():
            path = folder / name
            path.parent.mkdir(parents=True, exist_ok=True)
            if isinstance(origin, bytes):
                path.write_bytes(origin)
                continue
            try:
                os.link(os.path.realpath(origin), path)
            except OSError:
                shutil.copyfile(origin, path)
        yield folder
    finally:
        shutil.rmtree(folder, ignore_errors=True)


def _same_plan(planner: Planner, staged: Planner, labels: list[str]) -> None:
    """What is packed must give the keys and results that the project has: else something that it needs is missing."""
    nodes = staged.plan(labels)
    differ = [label for label, n in nodes.items() if n.key != planner.nodes[label].key or n.run]
    if differ:
        hint = "nothing may edit the project meanwhile; tunekit build, then bundle again"
        raise UsageError(f"would not be the same out of the bundle: {', '.join(differ)}", slug="edited", hint=hint)


def _project_members(files: Files, folder: Path) -> list[Member]:
    out = []
    for name in files:
        path = folder / name
        out.append(Member(f"project/{name}", path.stat().st_size, sha256_file(path), path))
    return out


# -- the store's part ----------------------------------------------------------------------------


def _store_members(planner: Planner, labels: list[str], choice: Choice, machine: Machine) -> list[Member]:
    """Records, artifacts and objects behind the plan of the labels, sorted by path."""
    store = planner.store
    found: dict[str, Member] = {}
    made: list[tuple[dict[str, Any], list[Made]]] = []
    for label, node in planner.nodes.items():
        if node.in_place or not node.outputs:
            continue
        record = _record_of(store, node)
        if record is not None:
            record = in_own_words(planner, node, record)
            made.append((record, listed(records.parts_list(store, record))))
            extra = [record["metrics"], *([record["log"]] if choice.logs else [])]
            found |= {m.path: m for digest in extra if digest and (m := _object(store, digest, -1))}
        if label in labels or not choice.thin:
            for tree in node.outputs.values():
                if planner.presence.present(tree):
                    found |= _tree(store, tree)
    for record, parts in made:
        kept = [] if choice.thin else [part for part in parts if artifacts.whole(store, part.output) is not None]
        for part in kept:
            found |= _tree(store, part.output)
        body = _travelling(record, machine, choice)
        found |= {m.path: m for m in _record_members(body, record, kept)}
    return [found[path] for path in sorted(found)]


def _record_of(store: Store, node: Node) -> dict[str, Any] | None:
    """The attempt whose outputs the plan counts with."""
    selected = records.lookup(store, node.key)
    if selected is None or selected["outputs"] == node.outputs:
        return selected
    return next((r for r in records.attempts(store, node.key) if r["outputs"] == node.outputs), None)


def _record_members(body: bytes, record: dict[str, Any], parts: list[Made]) -> Iterator[Member]:
    place = f"records/{hex_of(record['key'])}/{record['attempt']}"
    yield Member(place + ".json", len(body), sha256_bytes(body), body)
    if parts:
        text = Made.write(parts).encode()
        yield Member(place + ".parts", len(text), sha256_bytes(text), text)


def _travelling(record: dict[str, Any], machine: Machine, choice: Choice) -> bytes:
    """A record without what it says of this machine. UsageError `names-this-machine` if its key is made of that."""
    body = outgoing(record, machine)
    if isinstance(body, Unfit):
        hint = "a setting that names a place of one machine cannot be built on another"
        raise UsageError(f"not bundled: {record['label']}: {body.why}", slug="names-this-machine", hint=hint)
    return canonical(json.loads(body) | {"log": record["log"]}) if choice.logs else body


def _tree(store: Store, tree: str) -> dict[str, Member]:
    """An artifact's list of files, and the files."""
    entries = artifacts.read_tree(store, tree) or []
    body = tree_body(entries)
    path = f"trees/{hex_of(tree)}"
    out = {path: Member(path, len(body), sha256_bytes(body), body)}
    for e in entries:
        member = _object(store, e.digest, e.size)
        if member is None:
            hint = "tunekit build makes it again"
            raise StoreError(f"a file of {tree} is not in the store: {e.path}", slug="missing-artifact", hint=hint)
        out[member.path] = member
    return out


def tree_body(entries: list[Entry]) -> bytes:
    return json.dumps([list(e) for e in sorted(entries)], separators=(",", ":"), ensure_ascii=False).encode()


def _object(store: Store, digest: str, size: int) -> Member | None:
    path = store.object(digest)
    try:
        found = path.stat().st_size
    except FileNotFoundError:
        return None
    return Member(f"objects/{hex_of(digest)}", found, digest, path) if size in (-1, found) else None


def _result(node: Node) -> dict[str, Any]:
    return {"key": node.key, "outputs": node.outputs}


def _head(labels: list[str], results: dict[str, Any], members: list[Member]) -> Member:
    body = {
        "schema": SCHEMA,
        "tunekit": tunekit.__version__,
        "labels": labels,
        "results": results,
        "members": [[m.path, m.size, m.sha256] for m in members],
    }
    body["digest"] = digest_of(body, SCHEMA)
    data = json.dumps(body, sort_keys=True, ensure_ascii=False, indent=1).encode()
    return Member(FIRST, len(data), sha256_bytes(data), data)
