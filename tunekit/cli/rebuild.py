"""`tunekit verify --rebuild`: run an action again and compare. The result stays what it was; an attempt is added."""

from __future__ import annotations

import argparse
import os
from typing import Any

from tunekit.build.finish import early
from tunekit.cli.command import open_store, print_json, project_root
from tunekit.errors import UsageError
from tunekit.plan.planner import FRESH, Planner
from tunekit.store import records


def rebuild(args: argparse.Namespace) -> int:
    """Exit code 0 if every artifact is the same, byte for byte, or if the figures are close where bits are not
    promised (`tunekit.build.agreement`); else 1."""
    from tunekit.plan.project import open_planner, wanted_one

    planner = open_planner(project_root(args), open_store())
    label = wanted_one(planner, args.rebuild)
    planner.plan([label])
    node = planner.nodes[label]
    if node.state != FRESH or not node.present or node.action.source:
        why = "is a source: `tunekit build` reads it anew" if node.action.source else f"is {node.state}"
        raise UsageError(f"{label} {why}", slug="not-built", hint=f"tunekit build {label}")
    old = planner.results.record(node.key)
    assert old is not None
    if early(old):
        message = f"{label} was {early(old)}: trained in full it is another result"
        raise UsageError(message, slug="finished-early", hint=f"tunekit build --force {label}")
    new = _again(planner, label, args)
    return _report(planner, old, new, as_json=args.json)


def _again(planner: Planner, label: str, args: argparse.Namespace) -> dict[str, Any]:
    """Run it once more; the attempt that this made."""
    from tunekit.build.builder import Builder, Options
    from tunekit.report.lines import Lines

    key = planner.nodes[label].key
    known = {r["attempt"] for r in records.attempts(planner.store, key)}
    planner.forced = {label}
    trusted = args.trust or os.environ.get("TUNEKIT_TRUST") == "1"
    listen = (lambda event: None) if args.json else Lines().take
    result = Builder(planner, [label], Options(trust=trusted), listen).run()
    planner.save()
    if label in result.failed:
        raise result.failed[label]
    return next(r for r in records.attempts(planner.store, key) if r["attempt"] not in known)


def _report(planner: Planner, old: dict[str, Any], new: dict[str, Any], *, as_json: bool) -> int:
    from tunekit.build.agreement import agreement
    from tunekit.report.difference import difference_lines, difference_of

    how = agreement(old, new)
    found = difference_of(planner.store, old, new)
    if as_json:
        names = {"label": old["label"], "key": old["key"], "old": old["attempt"], "new": new["attempt"]}
        promise = {"reproduced": how.holds, "bits_promised": how.promised, "tolerance": how.tolerance}
        differ = {k: found[k] for k in ("same_bytes", "effective", "environment", "metrics")}
        print_json("verify-rebuild", {**names, **promise, **differ})
    else:
        print("\n".join(difference_lines(old, new, found)))
        print(f"{'reproduced' if how.holds else 'NOT reproduced'}: {how}")
    return 0 if how.holds else 1
