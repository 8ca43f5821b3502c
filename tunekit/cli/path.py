"""`tunekit path`: where a result is. Builds nothing."""

from __future__ import annotations

import argparse

from tunekit.cli.command import new_parser, print_json
from tunekit.cli.reading import find, need_record, output_of, read_planner
from tunekit.errors import StoreError


def parser() -> argparse.ArgumentParser:
    p = new_parser(
        "path",
        "Print the folder of a result in the store: a view for reading, never for writing (`export` gives files).",
        "tunekit path merge:final\ntunekit path run:sft@best\nvllm serve $(tunekit path merge:final)",
    )
    p.add_argument("label", metavar="LABEL[@ROLE]")
    p.add_argument("--last", action="store_true", help="of a stale target: its newest earlier result")
    p.add_argument("--json", action="store_true")
    return p


def run(args: argparse.Namespace) -> int:
    from tunekit.store import artifacts

    found = find(read_planner(args), args.label)
    record = need_record(found, last=args.last)
    digest = output_of(record, found.output)
    if not found.planner.presence.present(digest):
        message = f"{found.label} was built, but its files are not in the store any more"
        raise StoreError(message, slug="missing-artifact", hint=f"tunekit build {found.label}")
    path = artifacts.view(found.planner.store, digest)
    if args.json:
        print_json("path", {"label": args.label, "path": str(path), "digest": digest, "key": record["key"]})
    else:
        print(path)
    return 0
