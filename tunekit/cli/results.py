"""`tunekit verify --results`: does this store have what the lock promotes, to the byte, or figures as close?"""

from __future__ import annotations

import argparse
from typing import Any

from tunekit.build.agreement import agrees
from tunekit.cli.command import print_json
from tunekit.cli.reading import read_planner
from tunekit.errors import UsageError
from tunekit.lockfile import ResultBlock
from tunekit.plan.planner import Planner
from tunekit.store import records


def check_results(args: argparse.Namespace) -> int:
    """Exit code 0 if every promoted result is reproduced here."""
    planner = read_planner(args)
    blocks = sorted(planner.inputs.lock.results)
    if not blocks:
        hint = "tunekit promote LABEL   (whoever publishes does it)"
        raise UsageError("tunekit.lock promotes no result to compare with", slug="not-promoted", hint=hint)
    found = [_one(planner, block) for block in blocks]
    if args.json:
        print_json("verify-results", {"results": found})
    else:
        for one in found:
            print(f"{'reproduced' if one['reproduced'] else 'NOT reproduced'}  {one['label']}  {one['how']}")
    return 0 if all(one["reproduced"] for one in found) else 1


def _one(planner: Planner, block: ResultBlock) -> dict[str, Any]:
    """The attempt here that agrees best: equal bytes, or the newest one."""
    body = {"label": block.label, "key": block.key, "promoted": block.attempt}
    known = [r for r in records.attempts(planner.store, block.key) if _whole(planner, r)]
    same = [r for r in known if r["outputs"] == block.outputs]
    if not known:
        return {**body, "attempt": None, "same_bytes": False, "reproduced": False, "how": "not built here"}
    record = (same or known)[-1]
    how = agrees(block, record)
    told = f"attempt {record['attempt']}: {how}"
    return {
        **body, "attempt": record["attempt"], "same_bytes": how.same_bytes, "reproduced": how.holds, "how": told,
    }  # fmt: skip


def _whole(planner: Planner, record: dict[str, Any]) -> bool:
    return all([planner.presence.present(tree) for tree in record["outputs"].values()])
