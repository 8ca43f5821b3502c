"""`tunekit bundle`: a project and its results in one archive, and back."""

from __future__ import annotations

import argparse
import sys
from pathlib import Path

from tunekit.cli.command import new_parser, open_store, print_json
from tunekit.errors import UsageError


def parser() -> argparse.ArgumentParser:
    p = new_parser(
        "bundle",
        "Write TOML, lock, code and results of some targets (default: those of [project] default) into one archive,\n"
        "from which `tunekit build` works with no network. What is private is left out, or refused where named.\n"
        "With --open: unpack one into a new folder and the store. Its code is not trusted, its results are believed\n"
        "(`tunekit verify --rebuild` checks one) unless you say --sources-only. More: docs/bundle.md",
        "tunekit bundle -o tutor.tar.zst\ntunekit bundle merge:final --thin -o final.tar.gz\n"
        "tunekit bundle --open tutor.tar.zst tutor",
    )
    p.add_argument("words", nargs="*", metavar="LABEL|DIR")
    p.add_argument("-o", "--output", default="", metavar="FILE", help=".tar.zst, .tar.gz or .tar")
    p.add_argument("--thin", action="store_true", help="only the labels' own artifacts, not those of what they need")
    p.add_argument("--logs", action="store_true", help="what actions printed, too (it may name paths of this machine)")
    p.add_argument("--open", default="", metavar="FILE", help="unpack FILE into the folder DIR")
    p.add_argument("--sources-only", action="store_true", help="--open: believe no result, only what the lock pins")
    p.add_argument("--json", action="store_true")
    return p


def run(args: argparse.Namespace) -> int:
    if bool(args.open) == bool(args.output):
        raise UsageError("bundle takes either -o FILE or --open FILE", hint="tunekit bundle --help")
    if args.open:
        return _open(args)
    if args.sources_only:
        raise UsageError("--sources-only goes with --open", hint="tunekit bundle --help")
    return _write(args)


def _write(args: argparse.Namespace) -> int:
    from tunekit.cli.reading import read_planner
    from tunekit.report.figures import size
    from tunekit.share.bundle import Choice, write
    from tunekit.share.private import because

    target = Path(args.output).absolute()
    if not target.parent.is_dir():
        raise UsageError(f"there is no folder {target.parent}", slug="missing-file")
    made = write(read_planner(args), args.words, target, Choice(args.thin, args.logs))
    for label, origin in made.left_out.items():
        print(f"left out: {label} (it {because(label, origin)})", file=sys.stderr)
    if args.json:
        print_json("bundle", {"file": str(target), **made._asdict()})
        return 0
    print(f"{target}: {', '.join(made.labels)}")
    print(f"{made.files} project files, {made.artifacts} artifacts, {size(made.size)}, {made.sha256}")
    return 0


def _open(args: argparse.Namespace) -> int:
    from tunekit.share.bundle_open import open_bundle

    if len(args.words) != 1 or args.thin or args.logs:
        raise UsageError("--open takes one folder", hint=f"tunekit bundle --open {args.open} DIR")
    target = Path(args.words[0]).absolute()
    found = open_bundle(Path(args.open), target, open_store(), results=not args.sources_only)
    if args.json:
        print_json("bundle-open", {**found._asdict(), "folder": str(target)})
        return 0
    print(
        f"{target}: {found.files} project files; {found.artifacts} artifacts and {found.results} records to the store"
    )
    for label in found.kept:
        print(f"  {label}: this store has a result of the same key with other bytes, which stays")
    print(f"its code is not trusted yet. next: cd {args.words[0]} && tunekit status   (then: tunekit trust --list)")
    return 0
