"""`tunekit show`: everything that is known of a result."""

from __future__ import annotations

import argparse

from tunekit.cli.command import new_parser, print_json
from tunekit.cli.reading import chosen, find, need_record, read_planner


def parser() -> argparse.ArgumentParser:
    p = new_parser(
        "show",
        "A result: settings, key, files, what took effect, metrics, gates, warnings, where it came from, attempts.\n"
        "Of a stale target the newest result that the history names is shown; of one with a matrix, its points.",
        "tunekit show run:grpo\ntunekit show run:grpo --attempt 20261124T05\ntunekit show eval:heldout --json",
    )
    p.add_argument("label", metavar="LABEL")
    p.add_argument("--attempt", default="", help="(beginning of) an attempt's name or of a key")
    p.add_argument("--json", action="store_true")
    return p


def run(args: argparse.Namespace) -> int:
    from tunekit.report.record import record_json, record_lines

    planner = read_planner(args)
    if (points := planner.graph.groups.get(args.label)) and not (args.json or args.attempt):
        from tunekit.report.sweep import sweep_lines

        print("\n".join(sweep_lines(planner, args.label, points)))
        return 0
    found = find(planner, args.label)
    record = chosen(found, args.attempt) if args.attempt else need_record(found)
    current = record["key"] == found.node.key
    if args.json:
        body = record_json(found.planner, record)
        print_json("show", {"label": found.label, "state": found.node.state, "current": current, **body})
        return 0
    if not current:
        print(
            f"{found.label} is {found.node.state}; this is its result of an earlier key (tunekit why {found.label})\n"
        )
    print("\n".join(record_lines(found.planner, record)))
    return 0
