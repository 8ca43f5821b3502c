"""`tunekit plan`: what a build would do, and why. Nothing is written, fetched or run; a remote is asked."""

from __future__ import annotations

import argparse
import os
from typing import TYPE_CHECKING

from tunekit.cli.command import new_parser
from tunekit.errors import UsageError

if TYPE_CHECKING:
    from tunekit.plan.planner import Planner


def parser() -> argparse.ArgumentParser:
    p = new_parser(
        "plan",
        "What a build of the labels would do, and why (default: those of [project] default).\n"
        "With a remote: `fetch` is taken from there, `remote` is known there and not needed here.\n"
        "--estimate: parameters, steps, tokens and memory of its runs, from declarations, config.json and the\n"
        "headers of weights. --measure: three real steps of one run whose inputs are built; nothing is kept.",
        "tunekit plan\ntunekit plan run:grpo --set run:grpo.learning_rate=1e-5\ntunekit plan --json\n"
        "tunekit plan --estimate run:sft --set run:sft.micro_batch_size=4\ntunekit plan --measure run:sft",
    )
    p.add_argument("labels", nargs="*", metavar="LABEL")
    p.add_argument("--set", action="append", default=[], metavar="LABEL.KEY=VALUE", dest="overrides")
    p.add_argument("--all", action="store_true", help="list fresh actions, too")
    p.add_argument("--offline", action="store_true", help="do not ask the remote")
    p.add_argument("--estimate", action="store_true", help="what its runs need: parameters, steps, memory")
    p.add_argument("--measure", default="", metavar="RUN", help="take three steps of a run: its memory and pace")
    p.add_argument("--trust", action="store_true", help="with --measure: run this project's code, this time")
    p.add_argument("--json", action="store_true")
    return p


def run(args: argparse.Namespace) -> int:
    from tunekit.cli.reading import read_planner
    from tunekit.manifest.remote import said
    from tunekit.plan.project import wanted
    from tunekit.report.plan import show_plan

    if args.measure:
        return _measure(args)
    planner = read_planner(args)
    if not args.offline and said(planner.inputs.root):
        from tunekit.cli.sharing import attach

        attach(planner)
    labels = wanted(planner, args.labels)
    if args.estimate:
        return _estimate(planner, labels, args.json)
    return show_plan(planner, labels, as_json=args.json, fresh=args.all)


def _estimate(planner: Planner, labels: list[str], as_json: bool) -> int:
    from tunekit.cli.command import print_json
    from tunekit.plan.estimate.memory import device
    from tunekit.plan.estimate.run import estimates_of
    from tunekit.report.estimate import device_json, estimate_json, estimate_lines
    from tunekit.report.plan import plan_json

    nodes = planner.plan(labels)
    found, on = estimates_of(planner, labels), device()
    if as_json:
        told = {"device": device_json(on), "estimates": [estimate_json(e, on) for e in found]}
        print_json("plan", {**plan_json(planner, labels, nodes), **told})
    else:
        print("\n".join(estimate_lines(found, on)))
    return 0


def _measure(args: argparse.Namespace) -> int:
    from tunekit.build.measure import measure
    from tunekit.cli.command import print_json
    from tunekit.cli.reading import find, read_planner
    from tunekit.report.figures import seconds, size

    if args.labels or args.estimate:
        raise UsageError("--measure is of one run alone", hint=f"tunekit plan --measure {args.measure}")
    found = find(read_planner(args), args.measure)
    trusted = args.trust or os.environ.get("TUNEKIT_TRUST") == "1"
    told = measure(found.planner, found.node, trusted)
    if args.json:
        print_json("plan-measure", {"label": found.label, **told._asdict()})
        return 0
    print(f"{found.label}: {told.seconds_per_step:.3g} s a step, {size(told.peak_memory)} at the worst moment")
    if told.steps:
        print(f"  {told.steps} steps take about {seconds(told.steps * told.seconds_per_step)}")
    print(f"  on {', '.join(told.devices)}; the first of the {told.taken} steps does not count")
    return 0
