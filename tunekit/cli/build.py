"""`tunekit build`: the main job."""

from __future__ import annotations

import argparse
import os
import sys
from typing import TYPE_CHECKING

from tunekit.cli.command import new_parser, open_store, project_root
from tunekit.errors import LockError, TunekitError
from tunekit.plan.unchanged import unchanged

if TYPE_CHECKING:  # a no-op imports none of these
    from pathlib import Path

    from tunekit.plan.planner import Planner
    from tunekit.store.store import Store


def parser() -> argparse.ArgumentParser:
    p = new_parser(
        "build",
        "Build targets (default: those of [project] default). Only what is stale runs.",
        "tunekit build\ntunekit build run:grpo --set run:grpo.seed=2\ntunekit build --locked --json    (CI)",
    )
    p.add_argument("labels", nargs="*", metavar="LABEL")
    p.add_argument("-n", "--dry-run", action="store_true", help="say what would run, and why")
    p.add_argument("--locked", action="store_true", help="fail if tunekit.lock would change or the environment differs")
    p.add_argument("--frozen", action="store_true", help="use tunekit.lock as it is, touch no network")
    p.add_argument("--offline", action="store_true", help="touch no network")
    p.add_argument("-j", "--jobs", type=int, default=0, help="actions at once (default: what the cores allow)")
    p.add_argument("-k", "--keep-going", action="store_true", help="build what does not need what failed")
    p.add_argument("--force", action="append", default=[], metavar="LABEL", help="run it again: a new attempt")
    p.add_argument("--set", action="append", default=[], metavar="LABEL.KEY=VALUE", dest="overrides")
    p.add_argument("--trust", action="store_true", help="run this project's code, this time")
    p.add_argument("--json", action="store_true", help="events as JSON lines")
    return p


def run(args: argparse.Namespace) -> int:
    root, store = project_root(args), open_store()
    if not (args.overrides or args.force or args.dry_run):
        done = unchanged(root, store.root, args.labels)
        if done is not None:
            return _nothing_to_do(len(done), args.json)
    from tunekit.plan.project import open_planner, wanted

    planner = open_planner(root, store, args.overrides, keep=not args.dry_run)
    labels = wanted(planner, args.labels)
    planner = _locked(planner, args, root, store)
    planner.forced = set(wanted(planner, args.force)) if args.force else set()
    if args.dry_run:
        from tunekit.report.plan import show_plan

        return show_plan(planner, labels, as_json=args.json)
    return _build(planner, labels, args)


def _nothing_to_do(count: int, as_json: bool) -> int:
    if as_json:
        from tunekit.cli.command import print_json

        print_json("build", {"type": "summary", "executed": [], "failed": [], "fresh": count})
    else:
        print(f"nothing to do: {count} target{'s' * (count != 1)} up to date")
    return 0


def _locked(planner: Planner, args: argparse.Namespace, root: Path, store: Store) -> Planner:
    """The planner on a lock that has every source, as far as the flags allow."""
    from tunekit.build import locking

    missing = locking.missing(planner.graph, planner.inputs.lock)
    if not missing:
        if args.locked:
            _check_environment(planner)
        return planner
    if args.locked or args.frozen or args.dry_run:
        if args.dry_run and not args.locked:
            return planner
        raise LockError(f"tunekit.lock does not pin {', '.join(missing)}", slug="unlocked", hint="tunekit lock")
    say = lambda text: print(text, file=sys.stderr)  # noqa: E731
    from tunekit.plan.project import open_planner

    locking.update(root, planner.graph, planner.inputs, store, offline=args.offline, say=say, overrides=args.overrides)
    return open_planner(root, store, args.overrides)


def _check_environment(planner: Planner) -> None:
    from tunekit.build import drift

    found = drift.of(planner.inputs)
    if found:
        lines = ", ".join(f"{name} {have} (locked: {want})" for name, want, have in found)
        raise LockError(f"the environment differs from tunekit.lock: {lines}", slug="environment-drift",
                        hint="pip install -c <(python -m tunekit env --constraints) …")  # fmt: skip


def _build(planner: Planner, labels: list[str], args: argparse.Namespace) -> int:
    from tunekit.build.builder import Builder, Options
    from tunekit.report.listen import listener

    offline = args.offline or args.frozen
    options = Options(args.jobs, args.keep_going, args.trust or os.environ.get("TUNEKIT_TRUST") == "1", offline)
    with listener(as_json=args.json) as listen:
        builder = Builder(planner, labels, options, listen)
        try:
            result = builder.run()
            listen(
                {"type": "summary", "executed": result.executed, "fresh": result.fresh, "failed": list(result.failed)}
            )
        finally:
            if builder.links is not None and not args.overrides:
                planner.complete(args.labels, builder.links)
            planner.save()
    return _exit_code(list(result.failed.values()))


def _exit_code(errors: list[TunekitError]) -> int:
    """The most telling of several failures: a real one before those that follow from it."""
    for error in errors:
        if error.slug != "upstream-failed":
            return error.exit_code
    return 1 if errors else 0
