"""`tunekit schema`: JSON schema of tunekit.toml."""

from __future__ import annotations

import argparse
import json
import sys

from tunekit.cli.command import new_parser


def parser() -> argparse.ArgumentParser:
    return new_parser(
        "schema",
        "Print the JSON schema of tunekit.toml, for completion and checks in an editor. With Taplo (Even Better\n"
        "TOML) put `#:schema ./tunekit.schema.json` on the first line of tunekit.toml.",
        "tunekit schema > tunekit.schema.json",
    )


def run(args: argparse.Namespace) -> int:
    from tunekit.report.schema import manifest_schema

    json.dump(manifest_schema(), sys.stdout, indent=2, ensure_ascii=False)
    sys.stdout.write("\n")
    return 0
