"""What a run that streams makes of its datasets' first rows: where they lie, and how they become tokens."""

from __future__ import annotations

from typing import Any

from tunekit.build.in_place import reading_of
from tunekit.cli.readers import Shown, bound_of, earlier, folder, ledger_of, shown_as, streamed_by, tokenizer_of
from tunekit.cli.reading import Found, find, need_record
from tunekit.derive import Edge
from tunekit.plan.planner import Planner
from tunekit.question import FIRST_BYTES, FIRST_ROWS, Subject
from tunekit.report.figures import size

_MASKING = ("train_on", "roles", "chat_template", "require_end")


def of_stream(planner: Planner, reader: Found, dataset: str) -> list[Shown]:
    """The datasets that a run streams, or the one; none of another reader. UsageError `not-built`: of a tokenizer, or
    of a dataset that is built before it is streamed."""
    action = reader.node.action
    if not streamed_by(action):
        return []
    words = tokenizer_of(planner, action.inputs["tokenizer"][0])
    out = []
    for edge, item in zip(action.inputs["data"], action.spec["data"], strict=True):
        label = edge.action.partition("#")[0]
        if dataset in ("", label):
            out.append(_streamed(planner, reader, label, edge, item, words))
    return out


def _streamed(planner: Planner, reader: Found, label: str, edge: Edge, item: dict[str, Any], words: str) -> Shown:
    longest, bound = bound_of(reader.node.action)
    settings = {name: item[name] for name in _MASKING if item.get(name) is not None}
    remarks = [
        f"tokens are made while {reader.label} trains, and not kept: these are of the first rows, by the names of "
        f"files, at most {FIRST_ROWS:,} or {size(FIRST_BYTES)}; the run mixes, cuts and packs them"
    ]
    found = find(planner, edge.action)
    common: dict[str, Any] = {"tokenizer": words, "settings": settings, "longest": longest, "streamed": True}
    if found.node.in_place:
        subject = Subject(label, "", reading=reading_of(planner, found.node), **common)
        return shown_as(subject, (found.node.outputs or {}).get("main", ""), remarks, {}, reader.label, bound)
    record = need_record(found)
    digest = record["outputs"][edge.output or "main"]
    subject = Subject(label, folder(planner, label, digest), **common)
    return shown_as(subject, digest, [*remarks, *earlier(found, record)], ledger_of(record), reader.label, bound)
