"""A record for people and for programs."""

from __future__ import annotations

from typing import Any

from tunekit.build.finish import early
from tunekit.hashing import short
from tunekit.plan.planner import Planner
from tunekit.report.chunks import chunks
from tunekit.report.clock import ago, stamp
from tunekit.report.figures import number, seconds, size
from tunekit.report.ledger import ledgers, rows_of
from tunekit.report.metrics import curves, history_of, summary_of
from tunekit.report.provenance import Ancestor, Provenance
from tunekit.report.settings import block, flat, text
from tunekit.store import artifacts, records

_MOST_FILES = 20


def files_of(planner: Planner, digest: str) -> list[dict[str, Any]] | None:
    """Files of an artifact; None if it is not in the store."""
    entries = artifacts.read_tree(planner.store, digest)
    if entries is None:
        return None
    return [{"path": e.path, "size": e.size, "digest": e.digest} for e in sorted(entries)]


def record_json(planner: Planner, record: dict[str, Any]) -> dict[str, Any]:
    back = Provenance(planner)
    return {
        "record": record,
        "artifacts": {role: {"digest": d, "files": files_of(planner, d)} for role, d in record["outputs"].items()},
        "metrics": history_of(planner.store, record),
        "provenance": [_ancestor_json(a) for a in back.ancestors(record)],
        "sources": back.sources(record),
        "attempts": [_attempt_json(r) for r in records.attempts(planner.store, record["key"])],
    }


def _ancestor_json(a: Ancestor) -> dict[str, Any]:
    key, source = (a.record["key"], a.record["source"]) if a.record else (None, "")
    return {
        "depth": a.depth,
        "role": a.role,
        "label": a.label,
        "digest": a.digest,
        "key": key,
        "source": source or None,
    }


def _attempt_json(record: dict[str, Any]) -> dict[str, Any]:
    return {k: record[k] for k in ("attempt", "started", "seconds", "outputs")}


def record_lines(planner: Planner, record: dict[str, Any]) -> list[str]:
    """Sections with a blank line between them; empty ones are left out."""
    sections = [
        _head(record),
        block("settings", [(name, text(value)) for name, value in flat(record["spec"])]),
        _files(planner, record),
        block("took effect", _effective(record)),
        _ledger(record),
        _metrics(planner, record),
        block("gates", [(g["name"], _gate(g)) for g in record["gates"]]),
        block("warnings", [(w["slug"], w["message"]) for w in record["warnings"]]),
        _provenance(planner, record),
        _attempts(planner, record),
    ]
    return "\n\n".join("\n".join(s) for s in sections if s).split("\n")


def _head(record: dict[str, Any]) -> list[str]:
    packages = record["environment"]["packages"]
    stack = ", ".join(f"{n} {packages[n]}" for n in ("torch", "transformers", "trl", "peft") if n in packages)
    rows = [
        ("kind", record["kind"]),
        ("key", record["key"]),
        ("made", f"{stamp(record['started'])} ({ago(record['started'])}), took {seconds(record['seconds'])}"),
        ("attempt", record["attempt"]),
        ("training", early(record)),
        ("parts", chunks(record)),
        ("commit", record["environment"]["commit"]),
        ("python", f"{record['environment']['python']}; {stack}" if stack else record["environment"]["python"]),
        ("source", record["source"]),
    ]
    return block(record["label"], [(name, value) for name, value in rows if value])


def _files(planner: Planner, record: dict[str, Any]) -> list[str]:
    out: list[str] = []
    done: set[str] = set()
    for role, digest in sorted(record["outputs"].items(), key=lambda item: item[0] != "main"):
        if digest in done:
            continue
        done.add(digest)
        same = "".join(f" @{r}" for r, d in record["outputs"].items() if d == digest and r != "main")
        title = f"artifact{same if role == 'main' else f' @{role}'}  {digest}"
        files = files_of(planner, digest)
        if files is None:
            out += [title, "  not in the store (`tunekit build` makes it again)"]
            continue
        shown = [(f["path"], size(f["size"])) for f in files[:_MOST_FILES]]
        more = [("…", f"{len(files) - _MOST_FILES} more")] if len(files) > _MOST_FILES else []
        out += block(f"{title}  ({size(sum(f['size'] for f in files))})", shown + more)
    return out


def _effective(record: dict[str, Any]) -> list[tuple[str, str]]:
    values = {k: v for k, v in record["effective"].items() if k != "summary"}
    if any(ledgers(values)):
        values = {k: v for k, v in values.items() if k not in ("ledger", "items")}
    return [(name, text(value)) for name, value in flat(values)]


def _ledger(record: dict[str, Any]) -> list[str]:
    out: list[str] = []
    for data, counts in ledgers(record["effective"]):
        out += block(f"ledger of {data}" if data else "ledger", rows_of(counts))
    return out


def _metrics(planner: Planner, record: dict[str, Any]) -> list[str]:
    out = block("result", [(name, number(value)) for name, value in flat(summary_of(record))])
    return out + block("history", curves(history_of(planner.store, record)))


def _gate(gate: dict[str, Any]) -> str:
    return f"{'passed' if gate['passed'] else 'FAILED'}: {gate['measured']} (wanted {gate['wanted']})"


def _provenance(planner: Planner, record: dict[str, Any]) -> list[str]:
    out = []
    for a in Provenance(planner).ancestors(record):
        source = f"  {a.record['source']}" if a.record and a.record["source"] else ""
        made = f"  {a.record['attempt']}" if a.record and not source else ""
        made += f"  {how}" if a.record and (how := early(a.record)) else ""
        out.append(
            f"{'  ' * (a.depth + 1)}{a.role}: {a.label}  {short(a.digest)}{source or made}{' …' if a.seen else ''}"
        )
    return ["made from", *out] if out else []


def _attempts(planner: Planner, record: dict[str, Any]) -> list[str]:
    found = records.attempts(planner.store, record["key"])
    if len(found) < 2:
        return []
    result = planner.results.record(record["key"])
    rows = []
    for i, r in enumerate(found, 1):
        counts = "  the result" if result is not None and r["attempt"] == result["attempt"] else ""
        rows.append((f"{i}  {r['attempt']}", f"{short(r['outputs']['main'])}  took {seconds(r['seconds'])}{counts}"))
    return block("attempts of this key", rows)
