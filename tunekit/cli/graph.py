"""`tunekit graph`: actions and what they need."""

from __future__ import annotations

import argparse

from tunekit.cli.command import new_parser, print_json


def parser() -> argparse.ArgumentParser:
    p = new_parser(
        "graph",
        "The graph of the labels and all that they need (default: the whole project).",
        "tunekit graph\ntunekit graph merge:final --format mermaid\ntunekit graph --format dot | dot -Tsvg > graph.svg",
    )
    p.add_argument("labels", nargs="*", metavar="LABEL")
    p.add_argument("--format", choices=["text", "dot", "mermaid", "json"], default="text")
    p.add_argument("--json", action="store_const", const="json", dest="format", help="the same as --format json")
    p.add_argument("--targets", action="store_true", help="without implicit steps (`run:x#tokens`)")
    return p


def run(args: argparse.Namespace) -> int:
    from tunekit.cli.reading import read_planner
    from tunekit.plan.project import wanted
    from tunekit.report import drawing

    planner = read_planner(args)
    graph = planner.graph
    labels = wanted(planner, args.labels) if args.labels else list(graph.targets)
    arrows = {label: graph.needs(label) for label in graph.closure(labels)}
    if args.targets:
        arrows = drawing.without(arrows, {x for x in arrows if x not in graph.targets and x not in labels})
    if args.format == "json":
        actions = [{"label": x, "kind": graph.actions[x].kind, "needs": needs} for x, needs in arrows.items()]
        print_json("graph", {"actions": actions})
    else:
        draw = {"text": drawing.tree, "dot": drawing.dot, "mermaid": drawing.mermaid}[args.format]
        print("\n".join(draw(arrows)))
    return 0
