"""`tunekit report`: a result, or several of them, as one page."""

from __future__ import annotations

import argparse
from pathlib import Path

from tunekit.cli.command import new_parser, print_json
from tunekit.cli.reading import chosen, find, need_record, read_planner
from tunekit.errors import UsageError


def parser() -> argparse.ArgumentParser:
    p = new_parser(
        "report",
        "A result as one page that needs nothing else: figures, curves, gates and health, samples, settings,\n"
        "where it came from. Several labels: their curves over each other, and what differs.\n"
        "Builds nothing. Of a stale target the newest result is shown, and the page says so.",
        "tunekit report run:sft\ntunekit report run:a run:b run:c -o sweep.html\n"
        "tunekit report run:sft --attempt 20261124T05",
    )
    p.add_argument("labels", nargs="+", metavar="LABEL")
    p.add_argument("-o", "--output", default="", metavar="FILE", help="default: the first label, as `run-sft.html`")
    p.add_argument("--attempt", default="", help="(beginning of) an attempt's name or of a key, of one label")
    p.add_argument("--json", action="store_true")
    return p


def run(args: argparse.Namespace) -> int:
    from tunekit.cli.writing import replaced
    from tunekit.report.page.one import result_page
    from tunekit.report.page.several import comparison_page

    if args.attempt and len(args.labels) > 1:
        raise UsageError("--attempt is of one label", hint="tunekit diff LABEL ATTEMPT ATTEMPT --html FILE")
    planner = read_planner(args)
    found = [find(planner, label) for label in dict.fromkeys(args.labels)]
    records = [chosen(found[0], args.attempt)] if args.attempt else [need_record(f) for f in found]
    if len(records) > 1:
        page = comparison_page(planner.store, records)
    else:
        old = records[0]["key"] != found[0].node.key
        remark = f"{found[0].label} is {found[0].node.state}: this is its result of an earlier key" if old else ""
        page = result_page(planner, records[0], remark)
    path = Path(args.output or records[0]["label"].replace(":", "-").replace("#", "-") + ".html")
    with replaced(path) as write:
        write(page)
    if args.json:
        print_json("report", {"labels": [f.label for f in found], "file": str(path), "size": len(page.encode())})
    else:
        print(path)
    return 0
