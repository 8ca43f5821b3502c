"""`tunekit plan`: what a build would do, and why. Nothing is written, fetched or run; a remote is asked."""

from __future__ import annotations

import argparse

from tunekit.cli.command import new_parser


def parser() -> argparse.ArgumentParser:
    p = new_parser(
        "plan",
        "What a build of the labels would do, and why (default: those of [project] default).\n"
        "With a remote: `fetch` is taken from there, `remote` is known there and not needed here.",
        "tunekit plan\ntunekit plan run:grpo --set run:grpo.learning_rate=1e-5\ntunekit plan --json",
    )
    p.add_argument("labels", nargs="*", metavar="LABEL")
    p.add_argument("--set", action="append", default=[], metavar="LABEL.KEY=VALUE", dest="overrides")
    p.add_argument("--all", action="store_true", help="list fresh actions, too")
    p.add_argument("--offline", action="store_true", help="do not ask the remote")
    p.add_argument("--json", action="store_true")
    return p


def run(args: argparse.Namespace) -> int:
    from tunekit.cli.reading import read_planner
    from tunekit.manifest.remote import said
    from tunekit.plan.project import wanted
    from tunekit.report.plan import show_plan

    planner = read_planner(args)
    if not args.offline and said(planner.inputs.root):
        from tunekit.cli.sharing import attach

        attach(planner)
    return show_plan(planner, wanted(planner, args.labels), as_json=args.json, fresh=args.all)
