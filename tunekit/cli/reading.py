"""What verbs that only look share: a planner that writes nothing, one label, and the record behind it."""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import Any, NamedTuple

from tunekit.build import history
from tunekit.cli.command import open_store, project_root
from tunekit.errors import UsageError
from tunekit.label import parse_label
from tunekit.plan.planner import FRESH, Node, Planner
from tunekit.plan.project import open_planner, wanted_one
from tunekit.store import records
from tunekit.store.store import Store


def read_planner(args: argparse.Namespace) -> Planner:
    """The project that the verb was called in; nothing in it is written."""
    overrides = vars(args).get("overrides") or []
    return open_planner(project_root(args), open_store(), overrides, keep=False)


class Found(NamedTuple):
    """A label as asked for: its action, which output of it, and how it stands."""

    label: str
    output: str
    node: Node
    planner: Planner

    @property
    def fresh(self) -> bool:
        return self.node.state == FRESH


def find(planner: Planner, text: str) -> Found:
    """The action behind a label, planned. UsageError `unknown-label` with the nearest one, `matrix-label`."""
    label = wanted_one(planner, text)
    parsed = parse_label(text)
    planner.plan([label])
    return Found(label, parsed.output if parsed else "", planner.nodes[label], planner)


def lines_of(root: Path, label: str) -> list[dict[str, Any]]:
    """What the history says of a label, oldest first, every (key, attempt) once at its last mention."""
    seen: dict[tuple[str, str], dict[str, Any]] = {}
    for line in history.read(root):
        if line["label"] == label:
            seen.pop((line["key"], line["attempt"]), None)
            seen[line["key"], line["attempt"]] = line
    return list(seen.values())


def attempt_of(store: Store, key: str, attempt: str) -> dict[str, Any] | None:
    return next((r for r in records.attempts(store, key) if r["attempt"] == attempt), None)


def record_of(found: Found, *, last: bool = True) -> dict[str, Any] | None:
    """The record of the label as declared now, or (`last`) the newest one that the history names."""
    store = found.planner.store
    record = found.planner.results.record(found.node.key) if found.node.key else None
    if record is None and last:
        for line in reversed(lines_of(found.planner.inputs.root, found.label)):
            record = attempt_of(store, line["key"], line["attempt"])
            if record is not None:
                break
    return record


def need_record(found: Found, *, last: bool = True) -> dict[str, Any]:
    record = record_of(found, last=last)
    if record is None and found.node.in_place:
        message = f"{found.label} is read where it lies, at {found.node.action.source}: nothing of it is in the store"
        raise UsageError(message, slug="in-place", hint=f"tunekit build {found.label.partition('#')[0]} keeps its rows")
    if record is None:
        why = "; ".join(str(r) for r in found.node.reasons)
        message = f"{found.label} has no result" + (f": {why}" if why else "")
        unfinished = bool(found.node.key) and (found.planner.store.staging(found.node.key) / "log.txt").is_file()
        verb = "log" if unfinished else "build"
        raise UsageError(message, slug="not-built", hint=f"tunekit {verb} {found.label}")
    return record


def chosen(found: Found, name: str) -> dict[str, Any]:
    """The record of a label by (the beginning of) an attempt's name or of a key. UsageError `unknown-attempt`."""
    store = found.planner.store
    keys = {line["key"] for line in lines_of(found.planner.inputs.root, found.label)}
    known = [r for key in sorted(keys | ({found.node.key} if found.node.key else set())) for r in _attempts(store, key)]
    wanted_key = name if name.startswith("sha256:") else f"sha256:{name}"
    fits = [r for r in known if r["attempt"].startswith(name)] or [r for r in known if r["key"].startswith(wanted_key)]
    if not fits:
        names = ", ".join(sorted(r["attempt"] for r in known)[-5:])
        hint = f"it has: {names}" if names else f"tunekit build {found.label}"
        raise UsageError(f"{found.label} has no attempt or key `{name}`", slug="unknown-attempt", hint=hint)
    return max(fits, key=lambda r: r["attempt"])


def _attempts(store: Store, key: str) -> list[dict[str, Any]]:
    return records.attempts(store, key)


def output_of(record: dict[str, Any], output: str) -> str:
    """The artifact of one output role of a record. UsageError `unknown-output`."""
    outputs = record["outputs"]
    role = output or "main"
    if role not in outputs:
        roles = ", ".join("@" + r for r in sorted(outputs) if r != "main") or "only its main one"
        raise UsageError(f"{record['label']} has no output `@{role}`", slug="unknown-output", hint=f"it has {roles}")
    return str(outputs[role])
