"""`tunekit why`: why an action is stale, and what its key is made of."""

from __future__ import annotations

import argparse
from typing import Any

from tunekit.cli.command import new_parser, print_json
from tunekit.cli.reading import Found, find, read_planner, record_of
from tunekit.derive import Edge
from tunekit.hashing import short


def parser() -> argparse.ArgumentParser:
    p = new_parser(
        "why",
        "Why an action is stale; what its key is made of; for a fresh one, when it was made and by which attempt.",
        "tunekit why run:grpo\ntunekit why run:sft#tokens\ntunekit why dataset:chat --json",
    )
    p.add_argument("label", metavar="LABEL")
    p.add_argument("--set", action="append", default=[], metavar="LABEL.KEY=VALUE", dest="overrides")
    p.add_argument("--json", action="store_true")
    return p


def run(args: argparse.Namespace) -> int:
    found = find(read_planner(args), args.label)
    record = record_of(found, last=False)
    image = found.node.image or (record["preimage"] if record else {})
    if args.json:
        print_json("why", _json(found, image, record))
    else:
        for line in _lines(found, image, record):
            print(line)
    return 0


def _json(found: Found, image: dict[str, Any], record: dict[str, Any] | None) -> dict[str, Any]:
    from tunekit.report.plan import node_json

    action = found.node.action
    made = {k: record[k] for k in ("attempt", "started", "seconds")} if record else None
    return {
        **node_json(found.planner, found.label, found.node),
        "preimage": image or None,
        "inputs": _inputs(found),
        "outside_key": {"numeric": action.numeric, "operational": action.operational, "gates": action.gates},
        "source": action.source or None,
        "made": made,
    }


def _inputs(found: Found) -> dict[str, list[dict[str, Any]]]:
    """Role → inputs in order; `digest` is None while it is not known."""
    nodes = found.planner.nodes

    def one(edge: Edge) -> dict[str, Any]:
        output = edge.output or "main"
        return {"label": edge.action, "output": output, "digest": (nodes[edge.action].outputs or {}).get(output)}

    return {role: [one(edge) for edge in edges] for role, edges in found.node.action.inputs.items()}


def _lines(found: Found, image: dict[str, Any], record: dict[str, Any] | None) -> list[str]:
    from tunekit.report.plan import reasons
    from tunekit.report.settings import block, flat, text

    node = found.node
    out = [f"{found.label}: {node.state}", *(f"  {r}" for r in reasons(node))]
    if node.action.source:
        out += ["", f"source  {node.action.source}", f"tree    {node.key or 'not in tunekit.lock'}"]
    else:
        out += ["", f"key  {node.key or 'not known until its inputs are'}"]
    if image:
        fields = [(name, text(value)) for name, value in flat(image["fields"])]
        out += block("", [("kind", f"{image['kind']} (version {image['version']})")])[1:]
        out += block("fields (others: their defaults)", fields)
    inputs = [
        (role, f"{i['label']}{_at(i['output'])}  {short(i['digest']) if i['digest'] else 'not known yet'}")
        for role, items in _inputs(found).items()
        for i in items
    ]
    out += block("inputs", inputs)
    if image:
        out += block("code", [(path, short(digest)) for path, digest in image["code"].items()])
        out += block("packages", list(image["packages"].items()))
    outside = {**node.action.numeric, **node.action.operational}
    out += block("not in the key", [(name, text(value)) for name, value in outside.items()])
    return out + _made(record)


def _at(output: str) -> str:
    return "" if output == "main" else f"@{output}"


def _made(record: dict[str, Any] | None) -> list[str]:
    if record is None:
        return []
    from tunekit.build.finish import early
    from tunekit.report.chunks import chunks
    from tunekit.report.clock import ago, stamp
    from tunekit.report.figures import seconds

    when = f"{stamp(record['started'])} ({ago(record['started'])}), took {seconds(record['seconds'])}"
    note = "".join(f"; {how}" for how in (early(record), chunks(record)) if how)
    return ["", f"made  {when}, by attempt {record['attempt']}{note}"]
