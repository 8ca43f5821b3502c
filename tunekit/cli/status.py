"""`tunekit status`: one line a target. A project in which nothing changed is answered without planning it."""

from __future__ import annotations

import argparse
from typing import Any

from tunekit.cli.command import new_parser, open_store, print_json, project_root
from tunekit.errors import StaleError
from tunekit.plan.unchanged import unchanged


def parser() -> argparse.ArgumentParser:
    p = new_parser(
        "status",
        "Which targets are fresh or stale (default: what `tunekit build` builds, and the targets it needs).\n"
        "Prints the counts and what is not fresh.",
        "tunekit status\ntunekit status --all\ntunekit status run:sft --check    (exit 4 when stale)",
    )
    p.add_argument("labels", nargs="*", metavar="LABEL")
    p.add_argument("-a", "--all", action="store_true", help="list the fresh ones too")
    p.add_argument("--check", action="store_true", help="exit 4 unless all are fresh")
    p.add_argument("--json", action="store_true")
    return p


def run(args: argparse.Namespace) -> int:
    if not (args.all or args.json):
        store = open_store()
        done = unchanged(project_root(args), store.root, args.labels, drift=False)
        if done is not None:
            many = len(done) != 1
            print(f"fresh: {len(done)} target{'s' * many} and all that {'they need' if many else 'it needs'}")
            return 0
    return _planned(args)


def _planned(args: argparse.Namespace) -> int:
    from tunekit.build import drift
    from tunekit.cli.reading import read_planner
    from tunekit.plan.project import wanted

    planner = read_planner(args)
    labels = wanted(planner, args.labels)
    nodes = planner.plan(labels)
    shown = [x for x in nodes if x in planner.graph.targets or x in labels]
    rows = _rows(planner, shown)
    stale = [r for r in rows if r["state"] != "fresh"]
    differing = drift.of(planner.inputs) + drift.of_profiles(planner.inputs, planner.graph)
    if args.json:
        drifted = [d._asdict() for d in differing]
        body = {"fresh": len(rows) - len(stale), "stale": len(stale), "targets": rows, "drift": drifted}
        print_json("status", body)
    else:
        _print(rows if args.all else stale, len(rows) - len(stale), len(stale))
        others = 0 if args.labels else len(planner.graph.targets) - len(rows)
        if others:
            print(f"{others} more outside [project] default: name them to see them")
        for d in differing:
            profile = "environment" if d.profile == drift.DEFAULT else f"environment {d.profile}"
            print(f"{profile}: {d.package} {d.installed} (tunekit.lock: {d.locked})")
    if args.check and stale:
        raise StaleError(f"{len(stale)} of {len(rows)} targets are not fresh", hint="tunekit build")
    return 0


def _rows(planner: Any, labels: list[str]) -> list[dict[str, Any]]:
    from tunekit.build import history
    from tunekit.report.plan import reasons

    built = {line["label"]: line["t"] for line in history.read(planner.inputs.root)}
    rows = []
    for label in labels:
        node = planner.nodes[label]
        rows.append(
            {
                "label": label,
                "state": node.state,
                "key": node.key or None,
                "built": built.get(label),
                "reasons": reasons(node),
            }
        )
    return rows


def _print(rows: list[dict[str, Any]], fresh: int, stale: int) -> None:
    from tunekit.hashing import short
    from tunekit.report.clock import ago

    print(f"{fresh} fresh, {stale} not" if stale else f"{fresh} fresh")
    width = max((len(r["label"]) for r in rows), default=0)
    for r in rows:
        key = short(r["key"]) if r["key"] else "-" * 12
        age = ago(r["built"]) if r["built"] else "never built"
        because = "; ".join(x for x in r["reasons"] if x != "never built")
        line = f"  {r['state']:<8}  {r['label']:<{width}}  {key}  {age:<14}  {because}"
        print(line.rstrip())
