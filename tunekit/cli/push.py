"""`tunekit push`: share results through the remote."""

from __future__ import annotations

import argparse
import sys

from tunekit.cli.command import new_parser, open_store, print_json, project_root


def parser() -> argparse.ArgumentParser:
    p = new_parser(
        "push",
        "Add results, and the results that they were made from, to the project's remote ([remote] in tunekit.toml, or\n"
        "TUNEKIT_REMOTE). What is there already is not sent again; what the remote has stays as it is. Logs, and what\n"
        "is private, stay here. Exit code 1 if a result of this store turned out to be damaged.",
        "tunekit push\ntunekit push run:sft\nTUNEKIT_REMOTE=s3://bucket/cache tunekit push --json",
    )
    p.add_argument("labels", nargs="*", metavar="LABEL")
    p.add_argument(
        "--sources", action="store_true", help="the files of locked sources, too (for machines without them)"
    )
    p.add_argument("--json", action="store_true")
    return p


def run(args: argparse.Namespace) -> int:
    from tunekit.cli.sharing import target_place
    from tunekit.plan.project import open_planner, wanted
    from tunekit.report.figures import size
    from tunekit.share.push import push

    root = project_root(args)
    planner = open_planner(root, open_store(), keep=False)
    labels = wanted(planner, args.labels)
    place = target_place(root)
    shown = sys.stderr.isatty() and not args.json
    asked = labels if args.labels else []
    done = push(planner, labels, asked, place, _say if shown else _quiet, sources=args.sources)
    if shown:
        sys.stderr.write("\r\033[K")
    if args.json:
        skipped = [s._asdict() for s in done.skipped]
        print_json("push", {"remote": place.url, **done._asdict(), "skipped": skipped})
    else:
        for label in done.entries:
            print(f"  pushed   {label}")
        for label, slug, why in done.skipped:
            print(f"  {'conflict' if slug == 'conflict' else 'skipped':<8} {label}  ({why})")
        sent = f"{done.objects} files, {size(done.size)} sent"
        print(f"{len(done.entries)} pushed, {len(done.known)} there already, {len(done.skipped)} not pushed; {sent}")
    if not (done.entries or done.known or args.json) and done.skipped:
        print("nothing was pushed", file=sys.stderr)
    return 1 if any(s.slug == "corrupt" for s in done.skipped) else 0


def _quiet(done: int, total: int) -> None:
    pass


def _say(done: int, total: int) -> None:
    from tunekit.report.figures import size

    sys.stderr.write(f"\r{size(done)} of {size(total)}\033[K")
    sys.stderr.flush()
