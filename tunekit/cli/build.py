"""`tunekit build`: the main job."""

from __future__ import annotations

import argparse
import os
import sys
from typing import TYPE_CHECKING

from tunekit.cli.command import new_parser, open_store, project_root
from tunekit.errors import LockError, TunekitError, UsageError
from tunekit.plan.unchanged import unchanged

if TYPE_CHECKING:  # a no-op imports none of these
    from pathlib import Path
    from typing import Any

    from tunekit.build.builder import Result
    from tunekit.plan.planner import Planner
    from tunekit.report.summary import Summary
    from tunekit.store.store import Store


def parser() -> argparse.ArgumentParser:
    p = new_parser(
        "build",
        "Build targets (default: those of [project] default). Only what is stale runs.",
        "tunekit build\ntunekit build run:grpo --set run:grpo.seed=2\ntunekit build --locked --json    (CI)\n"
        "tunekit build --finish run:sft      (after Ctrl-C: keep what its last checkpoint has, build the rest)\n"
        "tunekit build --force run:sft       (train it in full after all)",
    )
    p.add_argument("labels", nargs="*", metavar="LABEL")
    p.add_argument("-n", "--dry-run", action="store_true", help="say what would run, and why")
    how = p.add_mutually_exclusive_group()
    how.add_argument(
        "--locked",
        action="store_true",
        help="fail if `tunekit lock` would change it, or what runs would run in another environment",
    )
    how.add_argument("--frozen", action="store_true", help="use tunekit.lock as it is, touch no network")
    p.add_argument("--offline", action="store_true", help="touch no network")
    p.add_argument("--require-remote", action="store_true", help="fail where the remote fails (default: go on without)")
    p.add_argument("-j", "--jobs", type=_jobs, default=0, help="actions at once (default: what the cores allow)")
    p.add_argument("-k", "--keep-going", action="store_true", help="build what does not need what failed")
    p.add_argument("--force", action="append", default=[], metavar="LABEL", help="run it again: a new attempt")
    p.add_argument(
        "--finish", action="append", default=[], metavar="LABEL",
        help="stop a run early and keep it: its last checkpoint becomes the result, no further step is taken",
    )  # fmt: skip
    p.add_argument("--set", action="append", default=[], metavar="LABEL.KEY=VALUE", dest="overrides")
    p.add_argument("--trust", action="store_true", help="run this project's code, this time")
    p.add_argument(
        "--audit", action="store_true", help="warn of what actions read, run or speak to beside their inputs (strace)"
    )
    p.add_argument("--summary", default="", metavar="FILE", help="append what happened, as Markdown (docs/ci.md)")
    p.add_argument("--json", action="store_true", help="events as JSON lines")
    return p


def _jobs(text: str) -> int:
    if not text.isdecimal():
        raise argparse.ArgumentTypeError(f"`{text}` is not a number of actions (0: what the cores allow)")
    return int(text)


def run(args: argparse.Namespace) -> int:
    if args.require_remote and (args.offline or args.frozen):
        raise UsageError("--require-remote needs the network, --offline forbids it", slug="offline-and-remote")
    if not args.summary:
        return _run(args, None)
    from tunekit.cli.summing import summing

    with summing(args) as summary:
        return _run(args, summary)


def _run(args: argparse.Namespace, summary: Summary | None) -> int:
    root, store = project_root(args), open_store()
    if not (args.overrides or args.force or args.finish or args.dry_run or args.locked or args.audit):
        done = unchanged(root, store.root, args.labels)
        if done is not None:
            if summary is not None:
                summary.unchanged = len(done)
            return _nothing_to_do(len(done), args.json)
    from tunekit.plan.project import open_planner, wanted

    planner = open_planner(root, store, args.overrides, keep=not args.dry_run)
    labels = wanted(planner, args.labels)
    planner, lost = _locked(planner, labels, args, root, store)
    planner.forced = set(wanted(planner, args.force)) if args.force else set()
    _share(planner, args)
    finish = _finishing(planner, labels, args.finish) if args.finish else frozenset()
    if args.locked and any(node.run for node in planner.plan(labels).values()):
        _check_environment(planner)
    if args.dry_run:
        from tunekit.report.plan import show_plan

        if finish:
            names = [label for label in planner.nodes if planner.nodes[label].key in finish]
            print(f"{', '.join(names)}: would be finished early, from the last checkpoint", file=sys.stderr)
        return show_plan(planner, labels, as_json=args.json)
    return _build(planner, labels, args, finish, summary, lost)


def _share(planner: Planner, args: argparse.Namespace) -> None:
    """Let the build take from the project's remote what that has."""
    from tunekit.manifest.remote import said

    if args.offline or args.frozen:
        return
    if args.require_remote or said(planner.inputs.root):
        from tunekit.cli.sharing import attach

        attach(planner, required=args.require_remote, trusted=args.trust)


def _finishing(planner: Planner, labels: list[str], asked: list[str]) -> frozenset[str]:
    """Keys of the runs to end early; `labels` gets those of them that it does not build already."""
    from tunekit.build.finish import early, key_to_finish
    from tunekit.plan.project import wanted

    runs = wanted(planner, asked)
    both = sorted(planner.forced.intersection(runs))
    if both:
        raise UsageError(f"--force trains {both[0]} anew, --finish ends it early: choose one", slug="finish-and-force")
    built = set(planner.graph.closure(labels))
    labels += [label for label in runs if label not in built]
    planner.plan(labels)
    keys = {label: key_to_finish(planner, label) for label in runs}
    for label in [label for label, key in keys.items() if not key]:
        how = early(planner.results.record(planner.nodes[label].key) or {})
        print(f"{label} is built{f' ({how})' if how else ''}: nothing is to finish", file=sys.stderr)
    return frozenset(keys.values()) - {""}


def _nothing_to_do(count: int, as_json: bool) -> int:
    if as_json:
        from tunekit.cli.command import print_json

        print_json("build", {"type": "summary", "executed": [], "failed": [], "fetched": [], "fresh": count})
    else:
        print(f"nothing to do: {count} target{'s' * (count != 1)} up to date")
    return 0


Lost = dict[str, TunekitError]


def _locked(
    planner: Planner, labels: list[str], args: argparse.Namespace, root: Path, store: Store
) -> tuple[Planner, Lost]:
    """The planner on a lock that has every source of the labels, as far as the flags allow. With `--keep-going` the
    labels whose sources cannot be pinned leave the list: they are lost."""
    from tunekit.build import locking

    if args.locked:
        found = locking.out_of_date(planner.graph, planner.inputs.lock)
        if found:
            raise found.error()
        return planner, {}
    if args.frozen and (missing := locking.missing(planner.graph, planner.inputs.lock, labels)):
        raise LockError(f"tunekit.lock does not pin {', '.join(missing)}", slug="unlocked", hint="tunekit lock")
    if args.frozen or args.dry_run or not locking.wants_update(planner.graph, planner.inputs.lock, labels):
        return planner, {}
    say = lambda text: print(text, file=sys.stderr)  # noqa: E731
    from tunekit.plan.project import open_planner
    from tunekit.report.fetching import Fetching

    _, failed = locking.update(
        root, planner.graph, planner.inputs, store, offline=args.offline, say=say, overrides=args.overrides,
        watch=Fetching, labels=labels,
    )  # fmt: skip
    if not failed:
        return open_planner(root, store, args.overrides), {}
    lost = {x: failed[s] for s in failed for x in labels if _reads(planner, x, s)}
    if not args.keep_going or len(lost) == len(labels):
        locking.refuse(failed, say)
    for error in failed.values():
        say(error.render())
    say(f"not built, since their sources cannot be pinned: {', '.join(lost)}")
    labels[:] = [label for label in labels if label not in lost]
    return open_planner(root, store, args.overrides), lost


def _reads(planner: Planner, label: str, source: str) -> bool:
    return not set(planner.graph.sources[source]).isdisjoint(planner.graph.closure([label]))


def _check_environment(planner: Planner) -> None:
    from tunekit.build import drift

    found = drift.of(planner.inputs)
    if found:
        lines = ", ".join(f"{d.package} {d.installed} (locked: {d.locked})" for d in found)
        raise LockError(f"the environment differs from tunekit.lock: {lines}", slug="environment-drift",
                        hint="pip install -c <(python -m tunekit env --constraints) …")  # fmt: skip


def _build(
    planner: Planner, labels: list[str], args: argparse.Namespace, finish: frozenset[str], summary: Summary | None,
    lost: Lost,
) -> int:  # fmt: skip
    from tunekit.build import drift
    from tunekit.build.builder import Builder, Options
    from tunekit.report.listen import listener

    offline = args.offline or args.frozen
    trusted = args.trust or os.environ.get("TUNEKIT_TRUST") == "1"
    options = Options(args.jobs, args.keep_going, trusted, offline, finish, args.audit)
    with listener(as_json=args.json) as listen:
        if summary is not None:
            listen = summary.beside(planner, listen)
        builder = Builder(planner, labels, options, listen)
        try:
            result = builder.run()
            result.failed.update(lost)
            listen({"type": "summary", **summary_of(result)})
        finally:
            if builder.links is not None and not (args.overrides or args.finish or lost):
                planner.state.complete(args.labels, builder.links)
            drift.note(planner.inputs, planner.graph)
            planner.save()
    if args.audit and not result.executed:
        print("nothing ran, so nothing was audited; `--force LABEL` runs it again", file=sys.stderr)
    return _exit_code(list(result.failed.values()))


def summary_of(result: Result) -> dict[str, Any]:
    """What a build came to, as labels."""
    return {"executed": result.executed, "fresh": result.fresh, "fetched": result.fetched, "failed": [*result.failed]}


def _exit_code(errors: list[TunekitError]) -> int:
    """The most telling of several failures: a real one before those that follow from it."""
    for error in errors:
        if error.slug != "upstream-failed":
            return error.exit_code
    return 1 if errors else 0
