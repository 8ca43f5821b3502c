"""What was generated: the recorded completions of evals, as far as they belong to a result."""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any, NamedTuple

from tunekit.plan.planner import Planner
from tunekit.report.provenance import Provenance
from tunekit.store import artifacts

SHOWN = 10  # samples of an eval
_BYTES = 1 << 20  # of the file that are read for them


class Sampled(NamedTuple):
    """An eval with its record and the first of its samples (`prompt`, `completion`, `score`, …)."""

    label: str
    record: dict[str, Any]
    samples: list[dict[str, Any]]


def evals_of(planner: Planner, record: dict[str, Any]) -> Iterator[Sampled]:
    """The eval itself, or the evals of this project whose model stands on this very result."""
    if record["kind"] == "eval":
        yield Sampled(record["label"], record, samples_of(planner, record))
        return
    ours = set(record["outputs"].values())
    for label in planner.graph.targets:
        if planner.graph.actions[label].kind != "eval" or record["label"] not in planner.graph.closure([label]):
            continue
        planner.plan([label])
        node = planner.nodes[label]
        found = planner.results.record(node.key) if node.key else None
        if found and any(a.digest in ours for a in Provenance(planner).ancestors(found)):
            yield Sampled(label, found, samples_of(planner, found))


def samples_of(planner: Planner, record: dict[str, Any]) -> list[dict[str, Any]]:
    """The first samples that an eval's artifact has; none where it has none, or is not here."""
    main = record["outputs"].get("main")
    entries = artifacts.read_tree(planner.store, main) if main else None
    file = next((e for e in entries or [] if e.path == "samples.jsonl"), None)
    if file is None:
        return []
    try:
        with planner.store.object(file.digest).open("rb") as lines:
            data = lines.read(_BYTES)
    except FileNotFoundError:
        return []
    out = []
    for line in data.split(b"\n")[:SHOWN]:
        try:
            sample = json.loads(line)
        except ValueError:  # the end of the file, or of what was read
            break
        if isinstance(sample, dict):
            out.append(sample)
    return out


def words(prompt: Any) -> str:
    """A prompt as text: a string as it is, messages as `role: text`."""
    if isinstance(prompt, str):
        return prompt
    if isinstance(prompt, dict) and set(prompt) >= {"prompt"}:
        return words(prompt["prompt"])
    if isinstance(prompt, list) and all(isinstance(m, dict) and "role" in m for m in prompt):
        return "\n".join(f"{m['role']}: {words(m.get('content', ''))}" for m in prompt)
    return json.dumps(prompt, ensure_ascii=False)
