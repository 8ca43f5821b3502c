"""`tunekit query`: what a target needs, and what needs it."""

from __future__ import annotations

import argparse
import re

from tunekit.cli.command import new_parser, print_json
from tunekit.errors import UsageError, nearest
from tunekit.graph import Graph

_ARITY = {"deps": 1, "rdeps": 1, "somepath": 2}
_FORM = re.compile(r"(?P<name>[a-z]+)\s*\(\s*(?P<args>.*?)\s*\)\Z")


def parser() -> argparse.ArgumentParser:
    p = new_parser(
        "query",
        "deps X: all that X needs. rdeps X: all that needs X. somepath A B: one way from A down to B.",
        "tunekit query deps run:grpo\ntunekit query rdeps dataset:chat --targets\n"
        'tunekit query "somepath(merge:final, dataset:gsm8k)"',
    )
    p.add_argument("words", nargs="+", metavar="QUERY")
    p.add_argument("--targets", action="store_true", help="without implicit steps (`run:x#tokens`)")
    p.add_argument("--json", action="store_true")
    return p


def run(args: argparse.Namespace) -> int:
    from tunekit.cli.reading import read_planner
    from tunekit.plan.project import wanted_one

    name, labels = _parse(" ".join(args.words))
    planner = read_planner(args)
    graph = planner.graph
    arguments = [wanted_one(planner, label) for label in labels]
    found = _answer(graph, name, arguments)
    if args.targets:
        found = [x for x in found if x in graph.targets]
    if args.json:
        print_json("query", {"query": name, "of": arguments, "labels": found})
    else:
        print("\n".join(found), end="\n" if found else "")
    return 0


def _parse(text: str) -> tuple[str, list[str]]:
    """`deps run:x` or `deps(run:x)`. UsageError `bad-query`."""
    form = _FORM.match(text.strip())
    name, _, rest = (form["name"], "", form["args"]) if form else text.strip().partition(" ")
    labels = [x for x in re.split(r"[,\s]+", rest) if x]
    if name not in _ARITY:
        raise UsageError(f"there is no query `{name}`", slug="bad-query", hint=nearest(name, list(_ARITY)))
    if len(labels) != _ARITY[name]:
        many = "one label" if _ARITY[name] == 1 else "two labels"
        raise UsageError(f"{name} takes {many}, not {len(labels)}", slug="bad-query", hint="tunekit query --help")
    return name, labels


def _answer(graph: Graph, name: str, labels: list[str]) -> list[str]:
    if name == "deps":
        return [x for x in graph.closure(labels) if x not in labels]
    if name == "rdeps":
        return _users(graph, labels[0])
    return _path(graph, labels[0], labels[1])


def _users(graph: Graph, start: str) -> list[str]:
    users = graph.users()
    seen: set[str] = set()
    stack = [start]
    while stack:
        for user in users[stack.pop()]:
            if user not in seen:
                seen.add(user)
                stack.append(user)
    return [x for x in graph.actions if x in seen]


def _path(graph: Graph, start: str, goal: str) -> list[str]:
    """A shortest way along needs; empty if there is none."""
    came: dict[str, str] = {start: ""}
    queue = [start]
    for label in queue:
        if label == goal:
            way = [goal]
            while came[way[-1]]:
                way.append(came[way[-1]])
            return way[::-1]
        for need in graph.needs(label):
            if need not in came:
                came[need] = label
                queue.append(need)
    return []
