"""Answers of the verbs that say which results count, and what changed in the lock."""

from __future__ import annotations

from typing import Any, Literal

from msgspec import UNSET, UnsetType

from tunekit.report.answers.answer import Part, Reason


class Promote(Part):
    """`tunekit promote`. `attempt` is null after `--drop`, and there is no key then."""

    schema: Literal["tunekit/promote/1"]
    label: str
    written: bool
    attempt: str | int | None
    key: str | UnsetType = UNSET
    outputs: dict[str, str] | UnsetType = UNSET


class Compared(Part):
    """A promoted result and the attempt of this store that agrees best with it; null: none is here."""

    label: str
    key: str
    promoted: str | int
    attempt: str | None
    same_bytes: bool
    reproduced: bool
    how: str


class VerifyResults(Part):
    """`tunekit verify --results`."""

    schema: Literal["tunekit/verify-results/1"]
    results: list[Compared]


class Pin(Part):
    revision: str
    tree: str


class Bytes(Part):
    size: int
    sha256: str


class FileChange(Part):
    path: str
    old: Bytes | None
    new: Bytes | None


class Contents(Part):
    """Of a dataset as made from one tree: rows, and column → type."""

    rows: int
    schema: dict[str, str]


class DatasetChange(Part):
    """`unknown`: why one side is not at hand."""

    label: str
    old: Contents | None
    new: Contents | None
    unknown: str | None


class SourceChange(Part):
    source: str
    old: Pin | None
    new: Pin | None
    files: list[FileChange]
    datasets: list[DatasetChange]


class RecipeChange(Part):
    """Digests, and the settings that differ."""

    name: str
    old: str | None
    new: str | None
    fields: list[Reason]


class PackageChange(Part):
    profile: str
    package: str
    old: str | None
    new: str | None


class ResultChange(Part):
    """`[[result]]` blocks as the lock has them."""

    label: str
    old: dict[str, Any] | None
    new: dict[str, Any] | None


class LockDiff(Part):
    """`tunekit lock diff`: null where one of the locks has nothing."""

    schema: Literal["tunekit/lock-diff/1"]
    against: str
    same: bool
    sources: list[SourceChange]
    recipes: list[RecipeChange]
    packages: list[PackageChange]
    results: list[ResultChange]
