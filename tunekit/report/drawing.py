"""A graph (label → labels it needs) as a text tree, DOT or Mermaid."""

from __future__ import annotations

Arrows = dict[str, list[str]]


def without(arrows: Arrows, hidden: set[str]) -> Arrows:
    """The same graph with some nodes left out; what stood behind them moves up. `arrows` is in topological order."""
    reach: Arrows = {}
    for label, needs in arrows.items():
        direct = [x for need in needs for x in (reach[need] if need in hidden else [need])]
        reach[label] = list(dict.fromkeys(direct))
    return {label: needs for label, needs in reach.items() if label not in hidden}


def tree(arrows: Arrows) -> list[str]:
    """Indented lines from what nothing needs down to the sources; what was drawn is not drawn again (`…`)."""
    needed = {x for needs in arrows.values() for x in needs}
    lines: list[str] = []
    drawn: set[str] = set()
    for root in [x for x in arrows if x not in needed]:
        stack = [(root, "", "")]
        while stack:
            label, lead, below = stack.pop()
            again = label in drawn and bool(arrows[label])
            lines.append(f"{lead}{label}{' …' if again else ''}")
            if again:
                continue
            drawn.add(label)
            last = len(arrows[label]) - 1
            children = [
                (need, below + ("└─ " if i == last else "├─ "), below + ("   " if i == last else "│  "))
                for i, need in enumerate(arrows[label])
            ]
            stack += reversed(children)
    return lines


def dot(arrows: Arrows) -> list[str]:
    """Graphviz; arrows go the way that data flows."""
    lines = ["digraph tunekit {", "  rankdir=LR;", "  node [shape=box];"]
    lines += [f'  "{label}";' for label in arrows]
    lines += [f'  "{need}" -> "{label}";' for label, needs in arrows.items() for need in needs]
    return [*lines, "}"]


def mermaid(arrows: Arrows) -> list[str]:
    """A Mermaid flow chart (GitHub draws it)."""
    names = {label: f"n{i}" for i, label in enumerate(arrows)}
    lines = ["flowchart LR"]
    lines += [f'  {names[label]}["{label.replace("#", "#35;")}"]' for label in arrows]
    lines += [f"  {names[need]} --> {names[label]}" for label, needs in arrows.items() for need in needs]
    return lines
