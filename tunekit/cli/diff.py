"""`tunekit diff`: what differs between two results."""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import Any

from tunekit.cli.command import new_parser, print_json
from tunekit.cli.reading import attempt_of, chosen, find, lines_of, need_record, read_planner
from tunekit.errors import UsageError
from tunekit.label import parse_label
from tunekit.plan.planner import Planner


def parser() -> argparse.ArgumentParser:
    p = new_parser(
        "diff",
        "What differs in settings, inputs, code, effective settings, environment and metrics.\n"
        "One label: its newest two results. Two labels: their results. After a label: attempts or keys of it.",
        "tunekit diff run:sft\ntunekit diff run:sft run:sft-long\ntunekit diff run:sft 20261124T05 20261123T\n"
        "tunekit diff run:a run:b --html page.html",
    )
    p.add_argument("first", metavar="LABEL")
    p.add_argument("others", nargs="*", metavar="LABEL|ATTEMPT|KEY")
    p.add_argument("--html", default="", metavar="FILE", help="as a page, with the curves over each other")
    p.add_argument("--json", action="store_true")
    return p


def run(args: argparse.Namespace) -> int:
    from tunekit.report.difference import difference_lines, difference_of

    if len(args.others) > 2:
        raise UsageError("diff compares two results", hint="tunekit diff --help")
    if args.html and args.json:
        raise UsageError("--html and --json are two outputs", hint="choose one of them")
    planner = read_planner(args)
    old, new = _pair(planner, args.first, args.others)
    if args.html:
        from tunekit.cli.writing import replaced
        from tunekit.report.page.several import comparison_page

        with replaced(Path(args.html)) as write:
            write(comparison_page(planner.store, [old, new]))
        print(args.html)
        return 0
    found = difference_of(planner.store, old, new)
    if args.json:
        names = [{k: r[k] for k in ("label", "key", "attempt")} for r in (old, new)]
        print_json("diff", {"old": names[0], "new": names[1], **found})
    else:
        print("\n".join(difference_lines(old, new, found)))
    return 0


Pair = tuple[dict[str, Any], dict[str, Any]]


def _pair(planner: Planner, first: str, others: list[str]) -> Pair:
    """The older and the newer record, or those that were named, in that order."""
    if not others:
        return _newest_two(planner, first)
    if len(others) == 1 and parse_label(others[0]):
        return need_record(find(planner, first)), need_record(find(planner, others[0]))
    found = find(planner, first)
    if len(others) == 1:
        return chosen(found, others[0]), need_record(found)
    return chosen(found, others[0]), chosen(found, others[1])


def _newest_two(planner: Planner, text: str) -> Pair:
    found = find(planner, text)
    kept = []
    for line in reversed(lines_of(planner.inputs.root, found.label)):
        record = attempt_of(planner.store, line["key"], line["attempt"])
        if record is not None:
            kept.append(record)
        if len(kept) == 2:
            return kept[1], kept[0]
    hint = f"tunekit diff {text} OTHER-LABEL"
    raise UsageError(f"{found.label} has {len(kept)} result(s), not two", slug="nothing-to-compare", hint=hint)
