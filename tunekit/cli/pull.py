"""`tunekit pull`: results that others made, from the remote."""

from __future__ import annotations

import argparse
from typing import Any

from tunekit.cli.command import new_parser, open_store, print_json, project_root


def parser() -> argparse.ArgumentParser:
    p = new_parser(
        "pull",
        "Take results from the project's remote into the store; nothing runs. (`tunekit build` does the same for what\n"
        "it needs.) Every file is checked against its sha256. Exit code 1 if a result is not to be had.",
        "tunekit pull\ntunekit pull merge:final\ntunekit pull --all     (what they were made from, too)",
    )
    p.add_argument("labels", nargs="*", metavar="LABEL")
    p.add_argument("--all", action="store_true", help="the results that these were made from, too")
    p.add_argument(
        "--require-remote", action="store_true", help="stop at the first thing that is wrong with the remote"
    )
    p.add_argument("--trust", action="store_true", help="believe this project's remote, this time")
    p.add_argument("--json", action="store_true")
    return p


def run(args: argparse.Namespace) -> int:
    from tunekit.cli.sharing import attach
    from tunekit.plan.project import open_planner, wanted
    from tunekit.report.lines import Lines
    from tunekit.share.pull import pull

    planner = open_planner(project_root(args), open_store())
    labels = wanted(planner, args.labels)
    attach(planner, required=args.require_remote, trusted=args.trust, verb="pull")
    assert planner.elsewhere is not None
    if args.all:
        labels = [x for x in planner.graph.closure(labels) if not planner.graph.actions[x].source]
    done = pull(planner, planner.elsewhere, labels, _quiet if args.json else Lines().take)
    planner.save()
    if args.json:
        print_json("pull", {"remote": planner.elsewhere.remote.url, **done._asdict()})
    else:
        for label, why in done.conflicts.items():
            print(f"  conflict {label}  ({why})")
        for label, why in done.missing.items():
            print(f"  missing  {label}  ({why})")
        counts = f"{len(done.fetched)} fetched, {len(done.fresh)} here already, {len(done.missing)} missing"
        print(f"{counts}; of {len(done.known)} more the record is known")
    return 1 if done.missing else 0


def _quiet(event: dict[str, Any]) -> None:
    """Progress is not part of the one JSON answer."""
