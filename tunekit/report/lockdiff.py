"""The difference between two locks in words and as JSON."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from tunekit.build.lockdiff import FileChange, LockDifference, PackageChange, ResultChange, SourceChange
from tunekit.hashing import short
from tunekit.lockfile import SourceBlock
from tunekit.report.contents import Change, Made
from tunekit.report.figures import size
from tunekit.report.plan import reason_json

_MOST_FILES = 20


def difference_lines(found: LockDifference, made: Made) -> Iterator[str]:
    """A line a change: `+` is in the new lock only, `-` in the old one only, `~` moved."""
    for source in found.sources:
        yield from _source(source, made)
    for recipe in found.recipes:
        yield f"{_sign(recipe.old, recipe.new)} {recipe}"
    for package in found.packages:
        yield f"{_sign(package.old, package.new)} {_package(package)}"
    for result in found.results:
        yield f"{_sign(result.old, result.new)} {_result(result)}"


def _sign(old: object, new: object) -> str:
    return "+" if old is None else "-" if new is None else "~"


def _source(change: SourceChange, made: Made) -> Iterator[str]:
    old, new = change.old, change.new
    yield f"{_sign(old, new)} {change.source}  {_headline(old, new)}".rstrip()
    if old and new:
        yield from _files(change.files)
    for rows in made.changes(change.source, old.tree if old else None, new.tree if new else None):
        yield from _rows(rows, moved=bool(old and new))


def _headline(old: SourceBlock | None, new: SourceBlock | None) -> str:
    if old and new:
        if old.revision != new.revision:
            return f"revision {old.revision or '(none)'} → {new.revision or '(none)'}"
        return "same revision, other files" if old.tree != new.tree else "same files"
    block = old or new
    assert block is not None
    count = len(block.files)
    revision = f"revision {block.revision}, " if block.revision else ""
    return f"{revision}{count} file{'s' * (count != 1)}, {size(sum(f.size for f in block.files))}"


def _files(changes: list[FileChange]) -> Iterator[str]:
    for change in changes[:_MOST_FILES]:
        if change.old and change.new:
            yield f"    ~ {change.path}  {_sizes(change.old.size, change.new.size)}"
        else:
            there = change.old or change.new
            assert there is not None
            yield f"    {_sign(change.old, change.new)} {change.path}  {size(there.size)}"
    if len(changes) > _MOST_FILES:
        yield f"    … {len(changes) - _MOST_FILES} more files changed"


def _sizes(old: int, new: int) -> str:
    if old == new:
        return f"{size(new)}, other bytes"
    return f"{size(old)} → {size(new)} ({new - old:+,} bytes)"


def _rows(change: Change, *, moved: bool) -> Iterator[str]:
    if not moved:
        there = change.old or change.new
        yield f"    {change.dataset}: " + (f"{there.rows:,} rows" if there else f"rows {change.why}")
        return
    if change.old is None or change.new is None:
        known = f"{change.old.rows:,} rows before; " if change.old else ""
        yield f"    {change.dataset}: {known}rows and schema {change.why}"
        return
    delta = change.new.rows - change.old.rows
    yield f"    {change.dataset}: rows {change.old.rows:,} → {change.new.rows:,} ({delta:+,})" + (
        "" if change.columns else ", same schema"
    )
    for name, old, new in change.columns:
        kind = f"{old} → {new}" if old and new else old or new
        yield f"    {_sign(old, new)} column {name}: {kind}"


def _package(change: PackageChange) -> str:
    where = "environment" if change.profile == "default" else f"environment {change.profile}"
    if change.old and change.new:
        return f"{where}: {change.package} {change.old} → {change.new}"
    return f"{where}: {change.package} {change.old or change.new}"


def _result(change: ResultChange) -> str:
    old, new = change.old, change.new
    block = new or old
    assert block is not None
    key = f"result of {change.label} (key {short(block.key)})"
    if old and new:
        same = ", the same bytes" if old.outputs == new.outputs else ""
        return f"{key}: attempt {old.attempt} → {new.attempt}{same}"
    return f"{key}: attempt {block.attempt}"


def difference_json(found: LockDifference, made: Made) -> dict[str, Any]:
    """`null` where one of the locks has nothing."""
    return {
        "sources": [_source_json(change, made) for change in found.sources],
        "recipes": [
            {
                "name": c.name,
                "old": c.old.digest if c.old else None,
                "new": c.new.digest if c.new else None,
                "fields": [reason_json(field) for field in c.fields],
            }
            for c in found.recipes
        ],
        "packages": [change._asdict() for change in found.packages],
        "results": [
            {
                "label": c.label,
                "old": c.old._asdict() if c.old else None,
                "new": c.new._asdict() if c.new else None,
            }
            for c in found.results
        ],
    }


def _source_json(change: SourceChange, made: Made) -> dict[str, Any]:
    old, new = change.old, change.new
    return {
        "source": change.source,
        "old": {"revision": old.revision, "tree": old.tree} if old else None,
        "new": {"revision": new.revision, "tree": new.tree} if new else None,
        "files": [
            {
                "path": f.path,
                "old": {"size": f.old.size, "sha256": f.old.sha256} if f.old else None,
                "new": {"size": f.new.size, "sha256": f.new.sha256} if f.new else None,
            }
            for f in change.files
        ],
        "datasets": [
            {
                "label": c.dataset,
                "old": c.old._asdict() if c.old else None,
                "new": c.new._asdict() if c.new else None,
                "unknown": c.why or None,
            }
            for c in made.changes(change.source, old.tree if old else None, new.tree if new else None)
        ],
    }
