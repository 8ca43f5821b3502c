"""`tunekit verify`: hash the store's objects again."""

from __future__ import annotations

import argparse
import sys

from tunekit.cli.command import new_parser, open_store, print_json


def parser() -> argparse.ArgumentParser:
    p = new_parser(
        "verify",
        "Hash every object of the store again. A bad one is moved to quarantine, and the next build makes it anew.\n"
        "Exit code 1 if there was one. With --rebuild: run an action again and compare; with --results: compare what\n"
        "is here with what tunekit.lock promotes. Exit code 1 if bytes differ, or figures where bits are not promised.",
        "tunekit verify\ntunekit verify --rebuild run:sft\ntunekit verify --results    (after tunekit build --locked)",
    )
    how = p.add_mutually_exclusive_group()
    how.add_argument("--rebuild", default="", metavar="LABEL", help="run it again: does it give the same bytes?")
    how.add_argument("--results", action="store_true", help="is what tunekit.lock promotes reproduced in this store?")
    p.add_argument("--trust", action="store_true", help="run this project's code, this time (--rebuild)")
    p.add_argument("--json", action="store_true")
    return p


def run(args: argparse.Namespace) -> int:
    if args.rebuild:
        from tunekit.cli.rebuild import rebuild

        return rebuild(args)
    if args.results:
        from tunekit.cli.results import check_results

        return check_results(args)
    return _hash(args)


def _hash(args: argparse.Namespace) -> int:
    from tunekit.report.figures import size
    from tunekit.share.verify import verify

    store = open_store()
    shown = sys.stderr.isatty() and not args.json
    found = verify(store, _say) if shown else verify(store)
    if shown:
        sys.stderr.write("\r\033[K")
    if args.json:
        print_json("verify", found._asdict())
        return 1 if found.bad else 0
    for name in found.bad:
        print(
            f"error[corrupt]: {name} was not what its name says; it is in {store.root / 'quarantine'}", file=sys.stderr
        )
    if found.bad:
        print("  = help: tunekit build   (makes again what is missing)", file=sys.stderr)
    print(f"{found.objects} objects, {found.trees} artifacts, {size(found.size)} read: {len(found.bad)} bad")
    return 1 if found.bad else 0


def _say(done: int, total: int) -> None:
    if done % 50 == 0 or done == total:
        sys.stderr.write(f"\r{done}/{total} objects")
        sys.stderr.flush()
