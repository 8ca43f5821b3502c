"""`tunekit publish`: a result to a repository on a Hugging Face hub. Says what it would do unless told `--yes`."""

from __future__ import annotations

import argparse

from tunekit.cli.command import new_parser, print_json
from tunekit.cli.reading import find, need_record, output_of, read_planner


def parser() -> argparse.ArgumentParser:
    p = new_parser(
        "publish",
        "Upload a built model, run, merge or tokenizer as one commit, with a README.md from its provenance, and check\n"
        "what the hub has against it. Without --yes it only says what would change. Private targets are refused.\n"
        "A repository that is not there yet is made, private unless you say --public. Needs a token (`hf auth login`).",
        "tunekit publish merge:final hf:my-org/tutor        (what would change)\n"
        "tunekit publish merge:final hf:my-org/tutor --yes\ntunekit publish run:sft@best hf:my-org/tutor-adapter --yes",
    )
    p.add_argument("label", metavar="LABEL[@ROLE]")
    p.add_argument("place", metavar="hf:ORG/NAME")
    p.add_argument("-y", "--yes", action="store_true", help="do it")
    p.add_argument("--public", action="store_true", help="a new repository may be seen by everybody")
    p.add_argument("--json", action="store_true")
    return p


def run(args: argparse.Namespace) -> int:
    from tunekit.report.publishing import files_to_publish
    from tunekit.share.publish import Place, Plan, need_token

    place = Place(args.place)
    planner = read_planner(args)
    found = find(planner, args.label)
    record = need_record(found, last=False)
    files = files_to_publish(planner, found.label, record, output_of(record, found.output), place.name)
    if args.yes:
        need_token()
    plan: Plan = place.plan(files)
    url = ""
    if args.yes:
        message = f"{args.label}, key {record['key'][7:19]}, by tunekit"
        url = place.publish(plan, files, message, public=args.public)
    if args.json:
        changes = [change._asdict() for change in plan.changes]
        made = {"done": args.yes, "created": not plan.parent, "url": url or None, "changes": changes}
        print_json("publish", {"label": args.label, "key": record["key"], "repository": plan.repository, **made})
    else:
        _print(plan, url, args)
    return 0


def _print(plan: object, url: str, args: argparse.Namespace) -> None:
    from tunekit.report.figures import size
    from tunekit.share.publish import Plan

    assert isinstance(plan, Plan)
    new = "" if plan.parent else f"  (new, {'public' if args.public else 'private'})"
    print(f"{args.place}{new}")
    for change in plan.changes:
        print(f"  {change.what:<7}  {change.path}  {size(change.size)}")
    count = sum(change.what in ("add", "replace") for change in plan.changes)
    told = f"{count} files, {size(sum(c.size for c in plan.changes if c.what in ('add', 'replace')))}"
    if not plan.moving:
        print("nothing to do: it is there as it is" + (f"\n{url}" if url else ""))
    elif url:
        print(f"{told} sent and checked\n{url}")
    else:
        print(f"{told} to send; nothing was changed; `--yes` does it")
