"""What a bundle brings to the store: artifacts and records, each held against its own name first.

A record's key is that of what it says it was made of; that its outputs are what comes of it can only be believed.
"""

from __future__ import annotations

import re
from typing import Any, Literal, NamedTuple

import msgspec

from tunekit.errors import StoreError
from tunekit.hashing import PREFIX, hex_of, tree_digest
from tunekit.label import parse_label
from tunekit.lockfile import bad_path
from tunekit.parts import Made, part_key
from tunekit.plan.preimage import action_key
from tunekit.store import artifacts, records
from tunekit.store.artifacts import Entry
from tunekit.store.store import Store

_ATTEMPT = re.compile(r"[0-9A-Za-z][0-9A-Za-z-]{0,63}\Z")


class Listed(NamedTuple):
    """Records and artifacts of a bundle, as text, until all of it was verified."""

    records: dict[str, bytes]
    parts: dict[str, bytes]
    trees: dict[str, bytes]


class Added(NamedTuple):
    """`records`: label in the bundle → those that count in the store now; `new`: how many it did not have; `kept`:
    labels whose result the store has already, with other bytes."""

    records: list[tuple[str, dict[str, Any]]]
    artifacts: int
    new: int
    kept: list[str]


def error(slug: str, message: str) -> StoreError:
    return StoreError(message, slug=slug, hint="nothing of it is used; ask for the bundle again, from whom you trust")


def flipped(path: str) -> StoreError:
    return error("bundle-corrupt", f"{path} is not what its sha256 says")


def publish(store: Store, listed: Listed, pinned: set[str] | None) -> Added:
    """Artifacts, then records. `pinned`: only these artifacts (hex), and what is known of them.

    StoreError `bundle-corrupt`, `bundle-unsafe`, before anything is added.
    """
    trees = {name: _entries(store, name, data) for name, data in listed.trees.items()}
    found = {name: _record(name, data) for name, data in listed.records.items()}
    parts = {name: _parts(name, data) for name, data in listed.parts.items()}
    if pinned is not None:
        trees = {name: entries for name, entries in trees.items() if name in pinned}
        found = {name: r for name, r in found.items() if r["source"] and hex_of(r["key"]) in pinned}
    for entries in trees.values():
        artifacts.write_tree(store, entries)
    new, kept = 0, []
    same: list[tuple[str, dict[str, Any]]] = []
    for name, record in sorted(found.items()):
        new += _add(store, record, parts.get(name.removesuffix(".json"), []), trees)
        selected = records.lookup(store, record["key"]) or record
        if selected["outputs"] == record["outputs"]:
            same.append((record["label"], selected))
        else:
            kept.append(record["label"])
    return Added(same, len(trees), new, sorted(kept))


def _add(store: Store, record: dict[str, Any], made: list[Made], trees: dict[str, list[Entry]]) -> bool:
    """Add a record with its parts, unless it is there."""
    there = any(r["attempt"] == record["attempt"] for r in records.attempts(store, record["key"]))
    if not there:
        records.add(store, record, Made.write(made))
    for part in made:
        key = part_key(part.base, part.chunk)
        if hex_of(part.output) in trees and records.part_output(store, key) is None:
            records.add_part(store, key, part.output)
    return not there


def _entries(store: Store, name: str, data: bytes) -> list[Entry]:
    """The files of an artifact whose list is `data`: whole in the store, and with names that are harmless there."""
    try:
        raw = msgspec.json.decode(data, type=list[tuple[str, int, bool, str]])
        entries = [Entry(*e) for e in raw]
        digest = tree_digest(list(entries))
        whole = all(store.object(e.digest).stat().st_size == e.size for e in entries)
    except (msgspec.DecodeError, ValueError) as e:
        raise error("bundle-corrupt", f"trees/{name}: {e}") from e
    except FileNotFoundError:
        whole, digest = False, PREFIX + name
    names = [e.path for e in entries]
    folders = {path[:i] for path in names for i, c in enumerate(path) if c == "/"}
    if any(bad_path(path) for path in names) or len(set(names)) != len(names) or folders.intersection(names):
        raise error("bundle-unsafe", f"trees/{name} names files that no artifact can have")
    if digest != PREFIX + name:
        raise flipped(f"trees/{name}")
    if not whole:
        raise error("bundle-corrupt", f"trees/{name} names a file that the bundle does not hold")
    return entries


class _Record(msgspec.Struct):
    """What must be of the right type in a record, so that nothing that reads it trips."""

    schema: Literal["tunekit/record/1"]
    key: str
    attempt: str
    label: str
    kind: str
    preimage: dict[str, Any]
    inputs: dict[str, list[dict[str, str]]]
    source: str
    outputs: dict[str, str]
    spec: dict[str, Any]
    effective: dict[str, Any]
    warnings: list[dict[str, str]]
    gates: list[dict[str, Any]]
    parts: dict[str, int]
    environment: dict[str, Any]
    started: float
    seconds: float
    log: str
    metrics: str


def _record(name: str, data: bytes) -> dict[str, Any]:
    """The record in `data`: of the key and attempt in its name, and of what its key was made of."""
    try:
        typed = msgspec.json.decode(data, type=_Record)
        record: dict[str, Any] = msgspec.json.decode(data)
        for field in ("schema", "made"):  # which the store writes itself
            record.pop(field, None)
        digests = [*typed.outputs.values(), *(d for d in (typed.log, typed.metrics) if d)]
        digests += [item["digest"] for items in typed.inputs.values() for item in items]
        named = f"{hex_of(typed.key)}/{typed.attempt}.json" == name and bool(_ATTEMPT.match(typed.attempt))
        if typed.preimage:
            own = action_key(typed.preimage) == typed.key
        else:
            own = bool(typed.source) and typed.outputs == {"main": typed.key}
        known = parse_label(typed.label) is not None and all(hex_of(d) for d in digests)
    except (msgspec.DecodeError, ValueError, TypeError, KeyError, RecursionError) as e:
        raise error("bundle-corrupt", f"records/{name}: {e}") from e
    if not (named and own and known):
        raise error("bundle-unsafe", f"records/{name} is not the record of that key")
    return record


def _parts(name: str, data: bytes) -> list[Made]:
    try:
        made = list(Made.read(data.decode()))
        for part in made:
            if not all(hex_of(digest) for digest in part):
                break
    except (ValueError, TypeError, AttributeError, RecursionError) as e:
        raise error("bundle-corrupt", f"records/{name}.parts: {e}") from e
    return made
