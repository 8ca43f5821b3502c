"""The metrics history of a record: an object of JSON lines in the store."""

from __future__ import annotations

import json
from typing import Any

from tunekit.report.figures import number
from tunekit.report.sparkline import sparkline
from tunekit.store.store import Store


def history_of(store: Store, record: dict[str, Any]) -> list[dict[str, Any]]:
    """Points in order of their steps; none if there are none or they are gone."""
    if not record["metrics"]:
        return []
    try:
        lines = store.object(record["metrics"]).read_text(encoding="utf-8").splitlines()
    except FileNotFoundError:
        return []
    return [json.loads(line) for line in lines]


def summary_of(record: dict[str, Any]) -> dict[str, Any]:
    found = record["effective"].get("summary", {})
    return found if isinstance(found, dict) else {}


def series(points: list[dict[str, Any]]) -> dict[str, list[float]]:
    """Metric → its values by step; only numbers."""
    out: dict[str, list[float]] = {}
    for point in points:
        for name, value in point.items():
            if name != "step" and isinstance(value, (int, float)) and not isinstance(value, bool):
                out.setdefault(name, []).append(float(value))
    return out


def curves(points: list[dict[str, Any]]) -> list[tuple[str, str]]:
    """One line a metric: first value, curve, last value."""
    return [
        (name, f"{number(values[0])} {sparkline(values)} {number(values[-1])}")
        for name, values in series(points).items()
        if len(values) > 1
    ]
