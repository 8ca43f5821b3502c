"""One result as a page: what came out, its curves, what was asked for, what took effect, where it came from."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from tunekit.hashing import short
from tunekit.plan.planner import Planner
from tunekit.report.clock import stamp
from tunekit.report.figures import number, seconds, size
from tunekit.report.ledger import ledgers, rows_of
from tunekit.report.metrics import history_of, summary_of
from tunekit.report.page.curves import curves_of
from tunekit.report.page.document import document, folded, preformatted, section, table
from tunekit.report.page.samples import Sampled, evals_of, words
from tunekit.report.provenance import Provenance
from tunekit.report.record import files_of
from tunekit.report.settings import flat, text

_TOLD = ("summary", "health", "ledger", "items", "profile")  # of what took effect: they have sections of their own


def result_page(planner: Planner, record: dict[str, Any], remark: str = "") -> str:
    """`remark`: what is to be said of it first (it is not the result of the label as declared now)."""
    return document(record["label"], _parts(planner, record, remark))


def _parts(planner: Planner, record: dict[str, Any], remark: str) -> Iterator[str]:
    effective = record["effective"]
    yield table([["", remark]], classes=["bad"]) if remark else ""
    yield table(_head(record))
    yield section("Result", table([[k, number(v)] for k, v in flat(summary_of(record))]))
    yield section("Warnings", table([[w["slug"], w["message"]] for w in record["warnings"]]))
    yield section("Gates", _gates(record["gates"]), _health(effective.get("health", {})))
    yield section("Curves", curves_of({record["label"]: history_of(planner.store, record)}))
    yield section("Samples", *(_sampled(found) for found in evals_of(planner, record)))
    yield section("Settings", table([[k, text(v, 400)] for k, v in flat(record["spec"])]))
    rest = {k: v for k, v in effective.items() if k not in _TOLD}
    yield section("Took effect", table([[k, text(v, 400)] for k, v in flat(rest)]))
    yield section(
        "Ledger",
        *(
            f"{table([['rows of', data]] if data else [])}{table(rows_of(counts))}"
            for data, counts in ledgers(effective)
        ),
    )
    yield section("Profile", _profile(effective.get("profile", {})))
    yield section("Made from", preformatted("\n".join(_provenance(planner, record))))
    yield section("Files", *(_files(planner, role, digest) for role, digest in record["outputs"].items()))
    env = record["environment"]
    rows = [[k, str(v)] for k, v in flat(env) if not k.startswith("packages.")]
    packages = table([[k, str(v)] for k, v in sorted(env["packages"].items())])
    yield section("Environment", table(rows), folded(f"{len(env['packages'])} packages", packages))


def _head(record: dict[str, Any]) -> list[list[str]]:
    rows = [
        ["kind", record["kind"]],
        ["made", f"{stamp(record['started'])}, took {seconds(record['seconds'])}"],
        ["key", record["key"]],
        ["attempt", record["attempt"]],
        ["source", record["source"]],
    ]
    return [row for row in rows if row[1]]


def _gates(gates: list[dict[str, Any]]) -> str:
    rows = [[g["name"], str(g["measured"]), g["wanted"], "passed" if g["passed"] else "FAILED"] for g in gates]
    return table(rows, ["gate", "measured", "wanted", ""], ["good" if g["passed"] else "bad" for g in gates])


def _health(receipts: dict[str, Any]) -> str:
    rows, classes = [], []
    for rule, r in receipts.items():
        worst = number(r["worst"]) if "worst" in r else ""
        at = str(r.get("tripped_at_step", r.get("at_step", "")))
        verdict = {True: "kept", False: "broken", None: "off" if r["act"] == "off" else "not measured"}[r["passed"]]
        rows.append([rule, str(r.get("metric", "")), r["wanted"], worst, at, verdict])
        classes.append("bad" if r["passed"] is False else "")
    return table(rows, ["health rule", "figure", "wanted", "worst", "at step", ""], classes)


def _sampled(found: Sampled) -> str:
    figures = [[k, number(v)] for k, v in flat(summary_of(found.record))]
    rows = [[words(s.get("prompt", "")), str(s.get("completion", "")), _score(s)] for s in found.samples]
    title = f"{found.label}: the first {len(rows)} samples" if rows else found.label
    return table([[title]]) + table(figures) + table(rows, ["prompt", "completion", "score"] if rows else [])


def _score(sample: dict[str, Any]) -> str:
    value = sample.get("score")
    return number(value) if isinstance(value, (int, float)) else "—"


def _profile(found: dict[str, Any]) -> str:
    top = found.get("top", [])
    rows = [[t["operator"], str(t["calls"]), str(t["cpu_ms"]), str(t["device_ms"])] for t in top]
    said = table([["steps", text(found["steps"])], ["files", text(found["files"])]]) if top else ""
    return said + table(rows, ["operator", "calls", "ms on the CPU", "ms on the device"])


def _provenance(planner: Planner, record: dict[str, Any]) -> Iterator[str]:
    for a in Provenance(planner).ancestors(record):
        source = f"  {a.record['source']}" if a.record and a.record["source"] else ""
        yield f"{'  ' * a.depth}{a.role}: {a.label}  {short(a.digest)}{source}{' …' if a.seen else ''}"


def _files(planner: Planner, role: str, digest: str) -> str:
    files = files_of(planner, digest)
    if files is None:
        return table([[f"@{role}", digest, "not in the store"]])
    rows = table([[f["path"], size(f["size"])] for f in files])
    return table([[f"@{role}", digest]]) + folded(f"{len(files)} files, {size(sum(f['size'] for f in files))}", rows)
