"""What the verbs of the lock print, beside `lock` itself. `null` where one of two locks has nothing."""

from __future__ import annotations

from typing import Any, Literal

from tunekit.report.answers.answer import Part, Reason


class Pin(Part):
    revision: str
    tree: str


class File(Part):
    size: int
    sha256: str


class ChangedFile(Part):
    path: str
    old: File | None
    new: File | None


class ChangedRows(Part):
    """A dataset of the source. `unknown`: why its rows are not known on one side."""

    label: str
    old: Any
    new: Any
    unknown: str | None


class ChangedSource(Part):
    source: str
    old: Pin | None
    new: Pin | None
    files: list[ChangedFile]
    datasets: list[ChangedRows]


class ChangedRecipe(Part):
    """`old` and `new`: digests."""

    name: str
    old: str | None
    new: str | None
    fields: list[Reason]


class ChangedPackage(Part):
    profile: str
    package: str
    old: str | None
    new: str | None


class Block(Part):
    """A promoted result as the lock has it."""

    label: str
    key: str
    attempt: str | int
    outputs: dict[str, str]
    metrics: dict[str, float]
    determinism: str


class ChangedResult(Part):
    label: str
    old: Block | None
    new: Block | None


class LockDiff(Part):
    """`tunekit lock diff`. `against`: the revision or file that is compared with."""

    schema: Literal["tunekit/lock-diff/1"]
    against: str
    same: bool
    sources: list[ChangedSource]
    recipes: list[ChangedRecipe]
    packages: list[ChangedPackage]
    results: list[ChangedResult]


class Promote(Part, omit_defaults=True):
    """`tunekit promote`. `attempt`: null after `--drop`; `written`: false where the lock had it already."""

    schema: Literal["tunekit/promote/1"]
    label: str
    written: bool
    attempt: str | None
    key: str = ""
    outputs: dict[str, str] = {}


class Reproduced(Part):
    """A promoted result, and the attempt here that agrees best; null: none is here."""

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
    results: list[Reproduced]
