"""`tunekit lock`: pin sources in tunekit.lock, and say what changed in it. Runs no project code."""

from __future__ import annotations

import argparse
import sys
from typing import TYPE_CHECKING

from tunekit.cli.command import new_parser, open_store, print_json, project_root
from tunekit.errors import UsageError, nearest
from tunekit.lockfile import Lock

if TYPE_CHECKING:
    from tunekit.build.locking import OutOfDate


def parser() -> argparse.ArgumentParser:
    p = new_parser(
        "lock",
        "Pin the sources that tunekit.lock does not have, drop those that nothing names any more, keep the rest.\n"
        "`path:` sources in the project need no pin: version control has them.\n"
        "`lock diff` says what changed since a revision of git (default: HEAD) or another lock file.",
        "tunekit lock\ntunekit lock --check    (CI: exit 3 if it would change)\ntunekit lock diff HEAD~1\n"
        "tunekit lock --upgrade                    (everything)\ntunekit lock --upgrade dataset:corpus\n"
        "tunekit lock --upgrade pypi:corpus#data/train.jsonl",
    )
    p.add_argument("words", nargs="*", metavar="diff [REVISION|FILE]", help="say what changed, change nothing")
    p.add_argument("--check", action="store_true", help="change nothing; exit 3 if the lock is out of date")
    p.add_argument("--upgrade", nargs="*", metavar="SOURCE|LABEL", help="pin anew, with the environment (default: all)")
    p.add_argument("--offline", action="store_true", help="touch no network")
    p.add_argument("--json", action="store_true")
    return p


def run(args: argparse.Namespace) -> int:
    if args.words:
        if args.words[0] != "diff":
            hint = "`tunekit lock --upgrade SOURCE` pins one anew; `tunekit lock diff REVISION` compares"
            raise UsageError(f"`{args.words[0]}` is nothing that `lock` does", hint=hint)
        from tunekit.cli.lockdiff import diff

        return diff(args, args.words[1:])
    return _lock(args)


def _lock(args: argparse.Namespace) -> int:
    from tunekit.build import locking
    from tunekit.plan.project import open_planner
    from tunekit.report.fetching import Fetching

    root, store = project_root(args), open_store()
    planner = open_planner(root, store, keep=not args.check)
    before = planner.inputs.lock
    known = locking.locked_sources(planner.graph)
    if args.check:
        if args.upgrade is not None:
            hint = "`tunekit lock --check` compares; `tunekit lock --upgrade` writes"
            raise UsageError("--check changes nothing, --upgrade does: take one of them", hint=hint)
        return _check(locking.out_of_date(planner.graph, before), len(known), as_json=args.json)
    upgrade = tuple(_upgrades(args.upgrade, known, planner.graph.sources))
    say = lambda text: print(text, file=sys.stderr)  # noqa: E731
    after, failed = locking.update(
        root, planner.graph, planner.inputs, store, offline=args.offline, say=say, upgrade=upgrade, watch=Fetching
    )  # fmt: skip
    if failed:
        locking.refuse(failed, say)
    _report(before, after, as_json=args.json)
    return 0


def _upgrades(asked: list[str] | None, known: list[str], readers: dict[str, list[str]]) -> list[str]:
    """Sources as the lock names them: those asked for, and those of the targets asked for."""
    from tunekit.sources.locator import as_locked

    if asked is None:
        return []
    of_target = {name: [s for s in known if name + "#fetch" in readers[s]] for name in asked}
    asked = [s for name in asked for s in of_target[name] or [as_locked(name, known)]]
    for source in asked:
        if source not in known:
            hint = nearest(source, known) or "this project has no source that needs a pin"
            if any(source + "#fetch" in labels for labels in readers.values()):
                raise UsageError(f"{source} reads no source that needs a pin", slug="unknown-source", hint=hint)
            raise UsageError(f"no target names the source `{source}`", slug="unknown-source", hint=hint)
    return asked or known


def _check(found: OutOfDate | None, count: int, *, as_json: bool) -> int:
    if as_json:
        missing, gone, recipes = found or ([], [], [])
        body = {"missing": missing, "gone": gone, "recipes": [str(change) for change in recipes]}
        print_json("lock-check", {"ok": found is None, **body})
    if found:
        raise found.error()
    if not as_json:
        print(f"tunekit.lock is up to date: {_sources(count)}")
    return 0


def _report(before: Lock, after: Lock, *, as_json: bool) -> None:
    new = sorted(set(after.sources) - set(before.sources))
    gone = sorted(set(before.sources) - set(after.sources))
    moved = sorted(s for s, b in after.sources.items() if s in before.sources and before.sources[s] != b)
    written = before != after
    if as_json:
        body = {"written": written, "added": new, "removed": gone, "changed": moved, "sources": sorted(after.sources)}
        print_json("lock", body)
        return
    for sign, names in (("+", new), ("-", gone), ("~", moved)):
        for name in names:
            print(f"  {sign} {name}  {after.sources[name].revision if name in after.sources else ''}".rstrip())
    print(f"tunekit.lock {'written' if written else 'is up to date'}: {_sources(len(after.sources))}")


def _sources(count: int) -> str:
    return f"{count} source{'s' * (count != 1)}"
