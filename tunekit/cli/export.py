"""`tunekit export`: a result as real files, with a model card."""

from __future__ import annotations

import argparse
from pathlib import Path

from tunekit.cli.command import new_parser, print_json
from tunekit.cli.reading import find, need_record, output_of, read_planner
from tunekit.errors import UsageError


def parser() -> argparse.ArgumentParser:
    p = new_parser(
        "export",
        "Write a result as real files into a new or empty folder, with a README.md from its provenance.\n"
        "An adapter comes with its base in DIR/base; its adapter_config.json names that folder by its absolute\n"
        "path, because PEFT reads a relative one from the caller's working directory. After moving DIR, load the\n"
        "base yourself: PeftModel.from_pretrained(AutoModelForCausalLM.from_pretrained('DIR/base'), 'DIR').",
        "tunekit export merge:final out/\ntunekit export run:grpo@best out/\n"
        "tunekit export run:grpo out/ --no-with-base",
    )
    p.add_argument("label", metavar="LABEL[@ROLE]")
    p.add_argument("target", metavar="DIR", type=Path)
    p.add_argument("--with-base", action=argparse.BooleanOptionalAction, default=True, help="an adapter's base too")
    p.add_argument("--last", action="store_true", help="of a stale target: its newest earlier result")
    p.add_argument("--json", action="store_true")
    return p


def run(args: argparse.Namespace) -> int:
    from tunekit.report.export import export

    target: Path = args.target.absolute()
    if target.exists() and (not target.is_dir() or any(target.iterdir())):
        raise UsageError(f"{target} is not an empty folder", slug="not-empty", hint="name a new one")
    planner = read_planner(args)
    found = find(planner, args.label)
    record = need_record(found, last=args.last)
    files = export(planner, record, output_of(record, found.output), target, with_base=args.with_base)
    if args.json:
        print_json("export", {"label": args.label, "key": record["key"], "folder": str(target), "files": files})
    else:
        print(f"{args.label}: {len(files)} files in {target}")
    return 0
