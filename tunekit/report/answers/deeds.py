"""Answers of the verbs that change something, or would."""

from __future__ import annotations

from typing import Any, Literal

from tunekit.report.answers.answer import Number, Part


class Lock(Part):
    """`tunekit lock`: source strings. `written`: whether the file changed."""

    schema: Literal["tunekit/lock/1"]
    written: bool
    added: list[str]
    removed: list[str]
    changed: list[str]
    sources: list[str]


class LockCheck(Part):
    """`tunekit lock --check`: sources that are not pinned, pins that nothing names, recipes that changed."""

    schema: Literal["tunekit/lock-check/1"]
    ok: bool
    missing: list[str]
    gone: list[str]
    recipes: list[str]


class Export(Part):
    """`tunekit export`."""

    schema: Literal["tunekit/export/1"]
    label: str
    key: str
    folder: str
    files: list[str]


class Code(Part):
    path: str
    digest: str
    trusted: bool


class Trust(Part):
    """`tunekit trust`: as it was before it was trusted."""

    schema: Literal["tunekit/trust/1"]
    folder: str
    files: list[Code]


class Removed(Part):
    path: str
    size: int


class Clean(Part):
    """`tunekit clean`. `done`: false without `--yes`."""

    schema: Literal["tunekit/clean/1"]
    done: bool
    paths: list[Removed]


class Root(Part):
    """A project or a running action that keeps artifacts; `there`: false keeps nothing."""

    name: str
    there: bool
    artifacts: int


class Freed(Part):
    dead: int
    expired: int


class Gc(Part):
    """`tunekit gc`: paths below the store. `done`: false without `--yes`."""

    schema: Literal["tunekit/gc/1"]
    done: bool
    roots: list[Root]
    dead: list[Removed]
    expired: list[Removed]
    bytes: Freed


class Verify(Part):
    """`tunekit verify`. `bad`: what was not as its name says, now in quarantine."""

    schema: Literal["tunekit/verify/1"]
    objects: int
    trees: int
    size: int
    bad: list[str]


class VerifyRebuild(Part):
    """`tunekit verify --rebuild`: two attempts of one key; name → [old, new] of what differs."""

    schema: Literal["tunekit/verify-rebuild/1"]
    label: str
    key: str
    old: str
    new: str
    reproduced: bool
    bits_promised: bool
    tolerance: Number
    same_bytes: bool
    effective: dict[str, list[Any]]
    environment: dict[str, list[Any]]
    metrics: dict[str, list[Any]]


class Bundle(Part):
    """`tunekit bundle -o`. `left_out`: private label → label of the target that says so."""

    schema: Literal["tunekit/bundle/1"]
    file: str
    labels: list[str]
    left_out: dict[str, str]
    files: int
    artifacts: int
    size: int
    sha256: str


class BundleOpen(Part):
    """`tunekit bundle --open`. `kept`: labels of which the store has another result of the same key, which stays."""

    schema: Literal["tunekit/bundle-open/1"]
    folder: str
    labels: list[str]
    files: int
    objects: int
    artifacts: int
    results: int
    kept: list[str]


class Changed(Part):
    """One file of a repository."""

    path: str
    size: int
    what: Literal["add", "replace", "same", "delete"]


class Publish(Part):
    """`tunekit publish`. `done`: false without `--yes`; `created`: the repository was not there; `url`: of a commit."""

    schema: Literal["tunekit/publish/1"]
    label: str
    key: str
    repository: str
    done: bool
    created: bool
    url: str | None
    changes: list[Changed]
