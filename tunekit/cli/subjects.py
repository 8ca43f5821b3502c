"""What `inspect` is to look at: the datasets behind a label, alone or as a run or an eval reads them."""

from __future__ import annotations

from typing import Any

from tunekit.cli.readers import (
    READERS,
    Shown,
    check_kept,
    check_read,
    earlier,
    folder,
    ledger_of,
    of_tokens,
    shown_as,
    tokens_of,
    with_reader,
)
from tunekit.cli.reading import Found, attempt_of, find, lines_of, need_record
from tunekit.cli.streams import of_stream
from tunekit.errors import UsageError
from tunekit.label import parse_label
from tunekit.plan.planner import Planner
from tunekit.question import Subject


def shown(planner: Planner, target: str, reader: str) -> tuple[list[Shown], list[Shown]]:
    """Nothing, and the datasets to look at. UsageError `wrong-kind`, `not-read`, `not-built`; StoreError
    `missing-artifact`."""
    dataset, reader = _roles(target, reader)
    if reader:
        found = find(planner, reader)
        return [], [*with_reader(planner, found, dataset), *of_stream(planner, found, dataset)]
    found = find(planner, dataset)
    record = need_record(found)
    return [], [_alone(planner, record, earlier(found, record))]


def compared(planner: Planner, target: str, reader: str) -> tuple[list[Shown], list[Shown]]:
    """The datasets of the last two different results: old, new, in the same order.

    UsageError `nothing-to-compare` and those of `shown`.
    """
    dataset, reader = _roles(target, reader)
    if not reader:
        old, new = _newest_two(find(planner, dataset))
        was, now = _alone(planner, old), _alone(planner, new)
        return [was], [_changed(was, now)]
    found = find(planner, reader)
    check_read(planner, found, dataset)
    check_kept(planner, found, dataset)
    tokens = tokens_of(found)
    if not tokens:
        raise UsageError(
            f"{found.label} makes no tokens", slug="nothing-to-compare", hint="tunekit inspect dataset:NAME --diff"
        )
    pair = _newest_two(find(planner, tokens))
    before, after = (_by_name(of_tokens(planner, found, record, dataset)) for record in pair)
    remarks = sorted(f"{label} is new in {reader}" for label, _ in after.keys() - before.keys())
    remarks += sorted(f"{label} is no longer read by {reader}" for label, _ in before.keys() - after.keys())
    both = [name for name in after if name in before]
    if not both:
        raise UsageError(f"{tokens} has other datasets now", slug="nothing-to-compare", hint="; ".join(remarks))
    return [before[name] for name in both], [_changed(before[name], after[name], tokens, remarks) for name in both]


def _changed(old: Shown, new: Shown, tokens: str = "", remarks: list[str] | None = None) -> Shown:
    """With what changed beside rows."""
    was, now = old.subject, new.subject
    found = ["the tokenizer changed too"] if was.tokenizer != now.tokenizer else []
    if was.settings != now.settings:
        found.append(f"settings changed too (tunekit diff {tokens})")
    head = new.head
    title = f"{head.title}: what changed"
    remarks = [*head.remarks, *(remarks or []), *found]
    return new._replace(head=head._replace(title=title, remarks=remarks, ledgers={}, before=old.head.digest))


def _roles(target: str, reader: str) -> tuple[str, str]:
    """Dataset (or empty: all) and reader (or empty: none)."""
    if _kind(target) in READERS and not reader:
        return "", _whole(target)
    if _kind(target) != "dataset":
        hint = f"tunekit inspect dataset:NAME --with {reader}" if reader else f"tunekit show {target}"
        raise UsageError(f"`{target}` is no dataset, run or eval", slug="wrong-kind", hint=hint)
    if reader and _kind(reader) not in READERS:
        hint = "`--with` takes a run or an eval: what they make of the rows is shown"
        raise UsageError(f"`{reader}` reads no rows", slug="wrong-kind", hint=hint)
    return _whole(target), _whole(reader)


def _kind(text: str) -> str:
    label = parse_label(text)
    if label is None:
        raise UsageError(f"`{text}` is no label", slug="unknown-label", hint="write `dataset:NAME` or `run:NAME`")
    return label.kind


def _whole(text: str) -> str:
    """`run:x` of `run:x@best` or `run:x#tokens`."""
    label = parse_label(text)
    return label.target if label else text


def _alone(planner: Planner, record: dict[str, Any], remarks: list[str] | None = None) -> Shown:
    label, digest = record["label"], record["outputs"]["main"]
    subject = Subject(label, folder(planner, label, digest))
    return shown_as(subject, digest, remarks or [], ledger_of(record))


def _newest_two(found: Found) -> tuple[dict[str, Any], dict[str, Any]]:
    """The records of the last two results whose artifacts differ, the older one first."""
    new = need_record(found)
    for line in reversed(lines_of(found.planner.inputs.root, found.label)):
        if line["outputs"].get("main") != new["outputs"]["main"]:
            old = attempt_of(found.planner.store, line["key"], line["attempt"])
            if old is not None:
                return old, new
    hint = "change something and build; --diff compares the last two different results"
    raise UsageError(f"{found.label} has had one result only", slug="nothing-to-compare", hint=hint)


def _by_name(found: list[Shown]) -> dict[tuple[str, int], Shown]:
    """By label; a dataset that is read twice is told apart by its place among its own."""
    out: dict[tuple[str, int], Shown] = {}
    for one in found:
        label = one.subject.label
        out[label, sum(name == label for name, _ in out)] = one
    return out
