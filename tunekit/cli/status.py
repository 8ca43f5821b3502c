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
        "Prints the counts and what is not fresh. With a remote: `remote` is what it has and a build does not execute.",
        "tunekit status\ntunekit status --all\ntunekit status run:sft --check    (exit 4 when stale)",
    )
    p.add_argument("labels", nargs="*", metavar="LABEL")
    p.add_argument("-a", "--all", action="store_true", help="list the fresh ones too")
    p.add_argument("--check", action="store_true", help="exit 4 unless all are fresh, here or at the remote")
    p.add_argument("--offline", action="store_true", help="do not ask the remote")
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
    from tunekit.manifest.remote import said
    from tunekit.plan.project import wanted

    planner = read_planner(args)
    if not args.offline and said(planner.inputs.root):
        from tunekit.cli.sharing import attach

        attach(planner)
    labels = wanted(planner, args.labels)
    nodes = planner.plan(labels)
    shown = [x for x in nodes if x in planner.graph.targets or x in labels]
    rows = _rows(planner, shown)
    remote = sum(r["state"] == "remote" for r in rows)
    other = [r for r in rows if r["state"] != "fresh"]
    stale = len(other) - remote
    differing = drift.of(planner.inputs) + drift.of_profiles(planner.inputs, planner.graph)
    if args.json:
        drifted = [d._asdict() for d in differing]
        counts = {"fresh": len(rows) - len(other), "remote": remote, "stale": stale}
        print_json("status", {**counts, "targets": rows, "drift": drifted})
    else:
        at_remote, not_fresh = [f"{remote} at the remote"] * bool(remote), [f"{stale} not"] * bool(stale)
        print(", ".join([f"{len(rows) - len(other)} fresh", *at_remote, *not_fresh]))
        _print(rows if args.all else other)
        others = 0 if args.labels else len(planner.graph.targets) - len(rows)
        if others:
            print(f"{others} more outside [project] default: name them to see them")
        for d in differing:
            profile = "environment" if d.profile == drift.DEFAULT else f"environment {d.profile}"
            print(f"{profile}: {d.package} {d.installed} (tunekit.lock: {d.locked})")
    if args.check and stale:
        raise StaleError(f"{stale} of {len(rows)} targets are not fresh", hint="tunekit build")
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


def _print(rows: list[dict[str, Any]]) -> None:
    from tunekit.hashing import short
    from tunekit.report.clock import ago

    width = max((len(r["label"]) for r in rows), default=0)
    for r in rows:
        key = short(r["key"]) if r["key"] else "-" * 12
        age = ago(r["built"]) if r["built"] else "never built"
        because = "; ".join(x for x in r["reasons"] if x != "never built")
        line = f"  {r['state']:<8}  {r['label']:<{width}}  {key}  {age:<14}  {because}"
        print(line.rstrip())
