"""The points of a matrix side by side: state, and figures of their results."""

from __future__ import annotations

from typing import Any

from tunekit.plan.planner import Planner

COLUMNS = 6


def sweep_lines(planner: Planner, group: str, points: list[str]) -> list[str]:
    """A line a point. Of the figures that all results have, the first ones that are not the same everywhere."""
    planner.plan(points)
    records = {p: planner.results.record(planner.nodes[p].key) if planner.nodes[p].key else None for p in points}
    found = [figures_of(record) for record in records.values() if record]
    names = [n for n in found[0] if all(n in f for f in found) and len({f[n] for f in found}) > 1] if found else []
    names = names[:COLUMNS]
    rows = [[group, "", *names]]
    for point in points:
        record = records[point]
        figures = figures_of(record) if record else {}
        cells = [f"{figures[name]:.6g}" if name in figures else "" for name in names]
        rows.append(["  " + point[len(group) :], planner.nodes[point].state, *cells])
    widths = [max(len(row[i]) for row in rows) for i in range(len(rows[0]))]
    return ["  ".join(cell.ljust(w) for cell, w in zip(row, widths, strict=True)).rstrip() for row in rows]


def figures_of(record: dict[str, Any]) -> dict[str, float]:
    """Numbers of a result's summary."""
    summary = record["effective"].get("summary", {})
    return {k: v for k, v in summary.items() if isinstance(v, (int, float)) and not isinstance(v, bool)}
