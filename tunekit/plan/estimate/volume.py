"""How much a run reads: rows, tokens and steps, as far as its datasets or their tokens are in the store."""

from __future__ import annotations

import json
import math
from collections.abc import Mapping
from typing import Any, NamedTuple

from tunekit.plan.planner import Planner
from tunekit.store import artifacts


class Volume(NamedTuple):
    """Of all epochs together; None: not known yet. `tokens` is what the model reads, without padding."""

    rows: int | None
    tokens: int | None
    steps: int | None


def volume_of(planner: Planner, label: str, spec: Mapping[str, Any]) -> Volume:
    """`spec`: the run's settings with their defaults."""
    items: list[dict[str, Any]] = [{"dataset": i} if isinstance(i, str) else i for i in spec["data"]]
    known = _tokens(planner, label)
    rows = tokens = 0.0
    counted, weighed = True, True
    for item in items:
        data = str(item["dataset"])
        count, total = known.get(data) or (_rows(planner, data), None)
        if count is None:
            counted = weighed = False
            break
        used = min(count, int(item.get("limit") or count)) * float(item.get("weight", 1.0))
        rows += used
        weighed = weighed and total is not None
        tokens += (total or 0) * used / max(count, 1)
    return _over(spec, rows if counted else None, tokens if weighed and counted else None)


def _over(spec: Mapping[str, Any], rows: float | None, tokens: float | None) -> Volume:
    """What an epoch has → what the steps take of it."""
    size, longest = int(spec["batch_size"]), int(spec.get("sequence_len") or 0)
    sequences = None if rows is None else rows * int(spec.get("num_generations") or 1)
    if spec.get("packing") and longest:  # packed about full
        sequences = tokens / longest if tokens is not None else None
    steps = spec.get("max_steps")
    if steps is None and sequences is not None and not spec.get("streaming"):
        steps = math.ceil(math.ceil(max(sequences, 1) / size) * float(spec["epochs"]))
    if steps is None:
        return Volume(None, None, None)
    if spec.get("streaming") and longest:
        return Volume(None, steps * size * longest, steps)
    if not sequences or rows is None:
        return Volume(None, None, steps)
    passes = steps * size / sequences
    return Volume(round(rows * passes), None if tokens is None else round(tokens * passes), steps)


def _tokens(planner: Planner, label: str) -> dict[str, tuple[int, int | None]]:
    """Dataset → its rows and tokens, where the run's tokens are made. Of a pair both answers count."""
    out: dict[str, tuple[int, int | None]] = {}
    for edge in planner.graph.actions[label].inputs.get("tokens", []):
        node = planner.nodes.get(edge.action)
        record = planner.results.record(node.key) if node and node.key else None
        for item in (record or {}).get("effective", {}).get("items", []):
            rows, tokens = out.get(item["data"], (0, 0))
            out[item["data"]] = (max(rows, int(item["rows"])), (tokens or 0) + int(item["tokens"]))
    return out


def _rows(planner: Planner, label: str) -> int | None:
    """Of a dataset that is built."""
    node = planner.nodes.get(label)
    main = (node.outputs or {}).get("main") if node else None
    entries = artifacts.read_tree(planner.store, main) if main else None
    file = next((e for e in entries or [] if e.path == "dataset.json"), None)
    if file is None:
        return None
    try:
        return int(json.loads(planner.store.object(file.digest).read_bytes())["rows"])
    except (OSError, ValueError, KeyError, TypeError):
        return None
