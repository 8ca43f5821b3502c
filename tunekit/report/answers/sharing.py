"""Answers of the verbs that share results."""

from __future__ import annotations

from typing import Literal

from tunekit.report.answers.answer import Part


class Skipped(Part):
    """A result that stays here, and the reason as a word and in words."""

    label: str
    slug: str
    why: str


class Push(Part):
    """`tunekit push`: labels that the remote has now and did not have, or had; objects and bytes that were sent."""

    schema: Literal["tunekit/push/1"]
    remote: str
    entries: list[str]
    known: list[str]
    skipped: list[Skipped]
    objects: int
    size: int


class Pull(Part):
    """`tunekit pull`. `known`: labels of which the record came, and whose bytes nothing needs here; `missing` and
    `conflicts`: label → why."""

    schema: Literal["tunekit/pull/1"]
    remote: str
    fetched: list[str]
    known: list[str]
    fresh: list[str]
    missing: dict[str, str]
    conflicts: dict[str, str]
