"""`tunekit trust`: say yes to this project's code, by content or (`--always`) for the folder."""

from __future__ import annotations

import argparse
import sys
from pathlib import Path

from tunekit.cli.command import new_parser, print_json
from tunekit.plan.planner import Planner


def parser() -> argparse.ArgumentParser:
    p = new_parser(
        "trust",
        "List the code that a build of this project would run, with digests, and trust those bytes (and its remote).\n"
        "`$NAME`: a variable of your environment that the project asks for (`pass_env`), to be handed to that code.\n"
        "On a terminal you are asked first. An edit asks again, unless the folder is trusted (--always).",
        "tunekit trust --list\ntunekit trust\ntunekit trust --always    (a project of your own)",
    )
    p.add_argument("--list", action="store_true", help="list only")
    p.add_argument("--always", action="store_true", help="this folder, later edits included")
    p.add_argument("-y", "--yes", action="store_true", help="do not ask")
    p.add_argument("--json", action="store_true")
    return p


def run(args: argparse.Namespace) -> int:
    from tunekit.build import trust
    from tunekit.cli.reading import read_planner
    from tunekit.cli.sharing import declared_remote

    planner = read_planner(args)
    root, code = planner.inputs.root, code_of(planner)
    if code:
        code |= trust.variables(root, planner.graph.pass_env)
    code |= declared_remote(root)
    bad = trust.untrusted(root, code)
    if args.json:
        files = [{"path": p, "digest": d, "trusted": p not in bad} for p, d in code.items()]
        print_json("trust", {"folder": str(root), "files": files})
    else:
        for path, digest in code.items():
            print(f"  {'not trusted' if path in bad else 'trusted':<11}  {digest[7:19]}  {path}")
    if args.list:
        return 0
    if not (bad or args.always):
        _say(args, "all code of this project is trusted" if code else "this project has no code of its own")
        return 0
    if not (args.yes or _agreed(root, len(bad), always=args.always)):
        print("nothing was trusted", file=sys.stderr)
        return 6
    if args.always:
        trust.trust_folder(root)
        _say(args, f"trusted: {root}")
    else:
        trust.trust_digests(list(bad.values()))
        _say(args, f"trusted: {len(bad)} file{'s' * (len(bad) != 1)}")
    return 0


def _say(args: argparse.Namespace, text: str) -> None:
    if not args.json:
        print(text)


def code_of(planner: Planner) -> dict[str, str]:
    """Path → digest of everything that some action of the project would run or read as code."""
    found: dict[str, str] = {}
    for action in planner.graph.actions.values():
        if action.code:
            found |= planner.code_digests(action)
    return dict(sorted(found.items()))


def _agreed(root: Path, count: int, *, always: bool) -> bool:
    """Typing the command is the yes, except where a person can be asked."""
    if not (sys.stdin.isatty() and sys.stdout.isatty()):
        return True
    what = f"everything in {root}, now and later" if always else f"these {count} file(s)"
    return input(f"Run {what}? [y/N] ").strip().lower() in ("y", "yes")
