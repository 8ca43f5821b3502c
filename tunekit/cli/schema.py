"""`tunekit schema`: JSON schema of tunekit.toml, or of what a verb prints."""

from __future__ import annotations

import argparse
import json
import sys

from tunekit.cli.command import new_parser


def parser() -> argparse.ArgumentParser:
    p = new_parser(
        "schema",
        "Print the JSON schema of tunekit.toml, for completion and checks in an editor. With Taplo (Even Better\n"
        "TOML) put `#:schema ./tunekit.schema.json` on the first line of tunekit.toml.\n"
        "--output: of what a verb prints with --json (docs/json.md); of `build`, of one line.",
        "tunekit schema > tunekit.schema.json\ntunekit schema --output status\ntunekit schema --list",
    )
    p.add_argument("--output", default="", metavar="NAME", help="of what this verb prints with --json")
    p.add_argument("--list", action="store_true", help="which names --output takes")
    return p


def run(args: argparse.Namespace) -> int:
    if args.list:
        from tunekit.report.answers.table import TABLE

        print("\n".join(TABLE))
        return 0
    if args.output:
        from tunekit.report.answers.table import json_schema

        found = json_schema(args.output)
    else:
        from tunekit.report.schema import manifest_schema

        found = manifest_schema()
    json.dump(found, sys.stdout, indent=2, ensure_ascii=False)
    sys.stdout.write("\n")
    return 0
