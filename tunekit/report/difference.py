"""What differs between two records."""

from __future__ import annotations

from typing import Any

from tunekit.plan.reason import difference
from tunekit.report.metrics import summary_of
from tunekit.report.plan import reason_json
from tunekit.report.settings import flat, text
from tunekit.store.store import Store

_TITLES = {
    "key": "key",
    "settings": "settings outside the key",
    "effective": "took effect",
    "environment": "environment",
    "metrics": "result",
}


def difference_of(store: Store, old: dict[str, Any], new: dict[str, Any]) -> dict[str, Any]:
    """`key`: reasons between the two preimages; the rest: name → [old, new]. `same_bytes`: equal main artifacts."""
    names = {role: ", ".join(i["label"] for i in items) for role, items in new["inputs"].items()}
    whole = bool(old["preimage"]) and bool(new["preimage"])
    reasons = difference(old["preimage"], new["preimage"], names) if whole else []
    told = {r.name for r in reasons if r.kind == "field"}
    spec = {k: v for k, v in _changes(old["spec"], new["spec"]).items() if k not in told}
    return {
        "same_key": old["key"] == new["key"],
        "same_bytes": old["outputs"] == new["outputs"],
        "key": [reason_json(r) for r in reasons],
        "settings": spec,
        "effective": _changes(*({k: v for k, v in r["effective"].items() if k != "summary"} for r in (old, new))),
        "environment": _changes(old["environment"], new["environment"]),
        "metrics": _changes(summary_of(old), summary_of(new)),
        "seconds": [old["seconds"], new["seconds"]],
    }


def _changes(old: dict[str, Any], new: dict[str, Any]) -> dict[str, list[Any]]:
    before, after = dict(flat(old)), dict(flat(new))
    names = [*before, *(n for n in after if n not in before)]
    return {n: [before.get(n), after.get(n)] for n in names if before.get(n) != after.get(n)}


def difference_lines(old: dict[str, Any], new: dict[str, Any], found: dict[str, Any]) -> list[str]:
    out = [f"- {_name(old)}", f"+ {_name(new)}", ""]
    for part, title in _TITLES.items():
        changes = found[part]
        if not changes:
            continue
        out.append(title)
        if part == "key":
            out += [f"  {c['text']}" for c in changes]
        else:
            out += [f"  {name}: {_one(a)} → {_one(b)}{_delta(a, b)}" for name, (a, b) in changes.items()]
    same = "the artifacts are equal, byte for byte" if found["same_bytes"] else "the artifacts differ"
    return [*out, f"{'same key; ' if found['same_key'] else ''}{same}"]


def _name(record: dict[str, Any]) -> str:
    return f"{record['label']}  {record['attempt']}  {record['key'][:19]}"


def _one(value: Any) -> str:
    return "(none)" if value is None else text(value, 60)


def _delta(old: Any, new: Any) -> str:
    if not all(isinstance(v, (int, float)) and not isinstance(v, bool) for v in (old, new)):
        return ""
    change = new - old
    return f"  ({change:+d})" if isinstance(change, int) else f"  ({change:+.4g})"
