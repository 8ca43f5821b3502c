"""`tunekit gc`: free the store of what nothing refers to. Says what it would do unless told `--yes`."""

from __future__ import annotations

import argparse
from typing import TYPE_CHECKING

from tunekit.cli.command import new_parser, open_store, print_json
from tunekit.errors import UsageError

if TYPE_CHECKING:
    from tunekit.share.gc import Plan


def parser() -> argparse.ArgumentParser:
    p = new_parser(
        "gc",
        "Move what no project refers to into the store's trash, and delete what has lain there for the grace.\n"
        "Kept: each registered project's last 10 results a label, its `out/` links, promoted results, all that runs,\n"
        "failed attempts of the last 7 days, and whatever is younger than the grace.",
        "tunekit gc              (what would go)\ntunekit gc --yes\ntunekit gc --yes --grace 0    (at once)",
    )
    p.add_argument("-y", "--yes", action="store_true", help="do it")
    p.add_argument("--grace", default="24h", help="30m, 24h, 7d, 0 (default: 24h)")
    p.add_argument("--json", action="store_true")
    return p


def run(args: argparse.Namespace) -> int:
    from tunekit.report.clock import span
    from tunekit.share import gc

    grace = span(args.grace)
    if grace is None:
        raise UsageError(f"--grace {args.grace}: not a time", slug="bad-grace", hint="30m, 24h, 7d or 0")
    store = open_store()
    made = gc.collect(store, grace) if args.yes else gc.plan(store, grace)
    if args.json:
        _print_json(made, done=args.yes)
    else:
        _print(made, str(store.root), args)
    return 0


def _print_json(made: Plan, *, done: bool) -> None:
    roots = [{"name": r.name, "there": r.there, "artifacts": len(r.trees)} for r in made.live.roots]
    print_json(
        "gc",
        {
            "done": done,
            "roots": roots,
            "dead": [d._asdict() for d in made.dead],
            "expired": [d._asdict() for d in made.expired],
            "bytes": {"dead": sum(d.size for d in made.dead), "expired": sum(d.size for d in made.expired)},
        },
    )


def _print(made: Plan, store: str, args: argparse.Namespace) -> None:
    from tunekit.report.figures import size

    print(f"store {store}")
    for root in made.live.roots:
        gone = "" if root.there else "  (gone: keeps nothing)"
        print(f"  root  {root.name}  {len(root.trees)} artifacts{gone}")
    kinds: dict[str, list[int]] = {}
    for item in made.dead:
        kinds.setdefault(item.path.partition("/")[0], []).append(item.size)
    for kind, sizes in kinds.items():
        print(f"  dead  {len(sizes)} {kind}  {size(sum(sizes))}")
    if made.expired:
        print(f"  trash  {len(made.expired)} batch(es) due  {size(sum(d.size for d in made.expired))}")
    if not (made.dead or made.expired):
        print("nothing to free")
    elif args.yes:
        later = "deleted" if args.grace == "0" else f"in the trash, deleted by a `tunekit gc --yes` after {args.grace}"
        print(f"{len(made.dead)} moved ({later}), {len(made.expired)} batch(es) deleted")
    else:
        print("nothing was changed; `tunekit gc --yes` does it")
