"""`tunekit clean`: remove this project's caches and unfinished work. Results and the history stay."""

from __future__ import annotations

import argparse
import shutil
from pathlib import Path

from tunekit.cli.command import new_parser, open_store, print_json, project_root
from tunekit.errors import TunekitError
from tunekit.store.store import Store


def parser() -> argparse.ArgumentParser:
    p = new_parser(
        "clean",
        "Remove .tunekit/state (a cache), .tunekit/out (links) and the staging of this project's unfinished actions\n"
        "(a build would have continued from it). Results stay in the store; the history stays here.",
        "tunekit clean          (what would go)\ntunekit clean --yes",
    )
    p.add_argument("-y", "--yes", action="store_true", help="do it")
    p.add_argument("--json", action="store_true")
    return p


def run(args: argparse.Namespace) -> int:
    from tunekit.report.figures import size
    from tunekit.share.gc import size_of

    root, store = project_root(args), open_store()
    caches = [p for p in (root / ".tunekit" / "state", root / ".tunekit" / "out") if p.exists()]
    found = [(path, size_of(path)) for path in caches + _staging(root, store)]
    if args.yes:
        for path, _ in found:
            shutil.rmtree(path, ignore_errors=True)
    if args.json:
        print_json("clean", {"done": args.yes, "paths": [{"path": str(p), "size": n} for p, n in found]})
        return 0
    for path, count in found:
        print(f"  {'removed' if args.yes else 'would remove'}  {path}  {size(count)}")
    if not found:
        print("nothing to remove")
    elif not args.yes:
        print("nothing was changed; `tunekit clean --yes` does it")
    return 0


def _staging(root: Path, store: Store) -> list[Path]:
    """Staging of keys that are this project's, and that no process works on now."""
    from tunekit.store import leases

    found = []
    for key in sorted(_keys(root, store)):
        path = store.staging(key)
        if path.is_dir() and not leases.held(store, key):
            found.append(path)
    return found


def _keys(root: Path, store: Store) -> set[str]:
    """Keys of the plan as it is now, where it can be made, and those that the state and the history name."""
    from tunekit.build import history
    from tunekit.plan.project import open_planner
    from tunekit.plan.state import State

    keys = {memo[1] for memo in State.load(root).memo.values()} | {line["key"] for line in history.read(root)}
    try:
        planner = open_planner(root, store, keep=False)
        planner.plan(planner.graph.targets)
    except TunekitError:
        return keys  # a project that does not parse can still be cleaned
    return keys | {node.key for node in planner.nodes.values() if node.key}
