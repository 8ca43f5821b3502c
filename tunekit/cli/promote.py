"""`tunekit promote`: choose which attempt of a key is its result, in this project's lock and nowhere else."""

from __future__ import annotations

import argparse
from collections.abc import Callable
from typing import Any

from tunekit.cli.command import new_parser, print_json
from tunekit.cli.reading import Found, find, read_planner
from tunekit.errors import UsageError
from tunekit.lockfile import Lock, ResultBlock, edit_lock


def parser() -> argparse.ArgumentParser:
    p = new_parser(
        "promote",
        "Write into tunekit.lock which attempt is the result of a target. What reads it follows: in this project, for\n"
        "whoever has this lock, whatever the store's first success was. Other projects on the store see no difference.",
        "tunekit build --force run:sft     (one attempt more; tunekit show run:sft lists them)\n"
        "tunekit promote run:sft --attempt 2\ntunekit promote run:sft --attempt 20261124T05\n"
        "tunekit promote run:sft --drop    (the store's first success counts again)",
    )
    p.add_argument("label", metavar="LABEL")
    p.add_argument("--attempt", default="", metavar="N", help="its number in `tunekit show`, or how its name begins")
    p.add_argument("--drop", action="store_true", help="take the target's results out of the lock")
    p.add_argument("--json", action="store_true")
    return p


def run(args: argparse.Namespace) -> int:
    found = find(read_planner(args), args.label)
    if args.drop:
        change, text, body = _dropped(found, found.planner.inputs.lock, args.attempt)
    else:
        change, text, body = _promoted(found, args.attempt)
    _, written = edit_lock(found.planner.inputs.root / "tunekit.lock", change)
    if args.json:
        print_json("promote", {"label": found.label, "written": written, **body})
    else:
        print(text if written else f"tunekit.lock has it already: {text}")
    return 0


Changed = tuple[Callable[[Lock], Lock], str, dict[str, Any]]


def _dropped(found: Found, lock: Lock, attempt: str) -> Changed:
    if attempt:
        raise UsageError("--drop takes no --attempt", hint="tunekit promote --help")
    if all(r.label != found.label for r in lock.results):
        hint = f"tunekit promote {found.label} --attempt N"
        raise UsageError(f"tunekit.lock promotes no result of {found.label}", slug="not-promoted", hint=hint)
    text = f"{found.label}: the store's first success counts again"

    def change(lock: Lock) -> Lock:
        return lock._replace(results=[r for r in lock.results if r.label != found.label])

    return change, text, {"attempt": None}


def _promoted(found: Found, attempt: str) -> Changed:
    from tunekit.build import drift, locking
    from tunekit.build.agreement import determinism_of, figures_of

    record = _chosen(found, _attempts(found), attempt)
    outputs, key = record["outputs"], record["key"]
    if not all([found.planner.presence.present(tree) for tree in outputs.values()]):
        message = f"bytes of attempt {record['attempt']} are not in the store any more: they cannot be promoted"
        raise UsageError(message, slug="attempt-lost", hint=f"tunekit build --force {found.label}")
    block = ResultBlock(found.label, key, record["attempt"], outputs, figures_of(record), determinism_of(record))

    def change(lock: Lock) -> Lock:
        same_key = [block._replace(label=r.label) for r in lock.results if r.key == key and r.label != found.label]
        others = [r for r in lock.results if r.key != key and r.label != found.label]
        made_in = lock.environments or {drift.DEFAULT: locking.here(found.planner.inputs)}
        return lock._replace(results=[*others, *same_key, block], environments=made_in)

    text = f"{found.label}: attempt {block.attempt} is its result (tunekit plan says what follows)"
    body = {"key": key, "attempt": block.attempt, "outputs": outputs}
    return change, text, body


def _attempts(found: Found) -> list[dict[str, Any]]:
    """Attempts of the label's key, oldest first."""
    from tunekit.store import records

    action, node = found.node.action, found.node
    if action.source:
        message = f"{found.label} is a source: nothing runs, so that it has no attempts"
        raise UsageError(message, slug="not-promotable", hint="tunekit.lock pins sources by themselves")
    known = records.attempts(found.planner.store, node.key) if node.key else []
    if not known:
        why = "; ".join(str(r) for r in node.reasons)
        message = f"{found.label} has no attempt of its present key ({why})"
        raise UsageError(message, slug="not-built", hint=f"tunekit build {found.label}")
    return known


def _chosen(found: Found, known: list[dict[str, Any]], name: str) -> dict[str, Any]:
    """By number or by the beginning of the name; without either, the only one there is to choose."""
    listed = ", ".join(f"{i} ({r['attempt']})" for i, r in enumerate(known, 1))
    if not name:
        current = found.planner.results.record(found.node.key)
        if current is not None and all(r["outputs"] == known[0]["outputs"] for r in known):
            return current
        message = f"{found.label} has {len(known)} attempts that differ"
        raise UsageError(message, slug="which-attempt", hint=f"--attempt N: {listed}")
    if name.isdecimal() and len(name) <= 4 and 1 <= int(name) <= len(known):
        return known[int(name) - 1]
    fits = [r for r in known if r["attempt"].startswith(name)]
    if len(fits) == 1:
        return fits[0]
    how = f"{len(fits)} attempts that begin with" if fits else "no attempt"
    raise UsageError(f"{found.label} has {how} `{name}`", slug="unknown-attempt", hint=f"it has: {listed}")
