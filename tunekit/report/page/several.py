"""Several results on one page: their curves over each other, their figures side by side, and what differs."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from tunekit.report.clock import stamp
from tunekit.report.figures import number, seconds
from tunekit.report.metrics import history_of, summary_of
from tunekit.report.page.curves import curves_of
from tunekit.report.page.document import document, section, table
from tunekit.report.settings import flat, text
from tunekit.store.store import Store

_NOT_COMPARED = ("summary", "health", "ledger", "items", "profile", "trainable", "peak_memory")


def comparison_page(store: Store, named: list[dict[str, Any]]) -> str:
    """Records in the order of their columns."""
    records = dict(zip(names_of(named), named, strict=True))
    return document(" · ".join(records), _parts(store, records))


def names_of(records: list[dict[str, Any]]) -> list[str]:
    """Labels, with the attempt where one label comes twice."""
    labels = [r["label"] for r in records]
    return [f"{r['label']} {r['attempt']}" if labels.count(r["label"]) > 1 else r["label"] for r in records]


def _parts(store: Store, records: Mapping[str, dict[str, Any]]) -> Iterator[str]:
    head = ["", *records]
    made = [
        ["made", *(stamp(r["started"]) for r in records.values())],
        ["took", *(seconds(r["seconds"]) for r in records.values())],
        ["key", *(r["key"][:19] for r in records.values())],
    ]
    yield table(made, head)
    figures = {name: dict(flat(summary_of(r))) for name, r in records.items()}
    yield section("Results", table(_rows(figures, number, every=True), head))
    yield section("Curves", curves_of({name: history_of(store, r) for name, r in records.items()}))
    specs = {name: dict(flat(r["spec"])) for name, r in records.items()}
    yield section("Settings that differ", table(_rows(specs, text), head))
    effects = {
        name: dict(flat({k: v for k, v in r["effective"].items() if k not in _NOT_COMPARED}))
        for name, r in records.items()
    }
    yield section("Took effect, and differs", table(_rows(effects, text), head))
    inputs = {name: {role: [i["digest"][:19] for i in items] for role, items in r["inputs"].items()}
              for name, r in records.items()}  # fmt: skip
    yield section("Inputs that differ", table(_rows(inputs, text), head))
    environments = {name: dict(flat(r["environment"])) for name, r in records.items()}
    yield section("Environment that differs", table(_rows(environments, text), head))
    warned = [[name, w["slug"], w["message"]] for name, r in records.items() for w in r["warnings"]]
    yield section("Warnings", table(warned))


def _rows(columns: Mapping[str, Mapping[str, Any]], shown: Any, *, every: bool = False) -> Iterator[list[str]]:
    """A row a name, with the value of each column; without `every`, those only that are not the same in all."""
    names = list(dict.fromkeys(name for values in columns.values() for name in values))
    for name in names:
        values = [column.get(name) for column in columns.values()]
        if every or any(v != values[0] for v in values[1:]):
            yield [name, *("—" if v is None else shown(v) for v in values)]
