"""What every answer has, and the parts that several share."""

from __future__ import annotations

from typing import Any, Literal

import msgspec
from msgspec import UNSET, UnsetType

State = Literal["fresh", "remote", "stale", "blocked", "unlocked"]
Number = int | float


class Part(msgspec.Struct, kw_only=True, forbid_unknown_fields=True):
    """A piece of an answer. Nothing but what is declared: a test decodes every verb's output with these types."""


class Reason(Part):
    """Why an action is stale: `old` and `new` are what differs, `text` is how it is said."""

    kind: str
    name: str
    old: Any
    new: Any
    text: str


class Chunks(Part):
    """Chunks of rows under their settings; `changed`: those that have to be made."""

    total: int
    changed: int


class Node(Part):
    """An action as planned. `key` and `outputs` (role → artifact) are null while its inputs are not known.
    `fetch`: a build takes it from the remote."""

    label: str
    kind: str
    state: State
    run: bool
    fetch: bool
    key: str | None
    outputs: dict[str, str] | None
    reasons: list[Reason]
    chunks: Chunks | None
    needs: list[str]


class Preimage(Part):
    """What a key is the digest of. A source has none: an empty object."""

    kind: str | UnsetType = UNSET
    version: int | UnsetType = UNSET
    fields: dict[str, Any] | UnsetType = UNSET
    inputs: dict[str, list[str]] | UnsetType = UNSET
    code: dict[str, str] | UnsetType = UNSET
    packages: dict[str, str] | UnsetType = UNSET


class Origin(Part):
    """An input: an output of another action."""

    label: str
    output: str
    digest: str | None


class Gate(Part):
    """A bound and what was measured."""

    name: str
    passed: bool
    measured: Any
    wanted: str


class Warned(Part):
    """A warning of an action."""

    slug: str
    message: str


class Environment(Part):
    """What an action ran in. `commit` is empty outside a repository."""

    tunekit: str
    python: str
    machine: str
    packages: dict[str, str]
    commit: str


class Record(Part):
    """What is known of one execution (docs/design.md). `log` and `metrics` are objects of the store, or empty;
    `parts` is empty where the action has none; `made` lists them for the next execution."""

    key: str
    attempt: str
    label: str
    kind: str
    preimage: Preimage
    inputs: dict[str, list[Origin]]
    source: str
    outputs: dict[str, str]
    spec: dict[str, Any]
    effective: dict[str, Any]
    warnings: list[Warned]
    gates: list[Gate]
    parts: dict[str, int]
    environment: Environment
    started: Number
    seconds: Number
    log: str
    metrics: str
    made: str | UnsetType = UNSET
    schema: Literal["tunekit/record/1"] | UnsetType = UNSET


class File(Part):
    """One file of an artifact."""

    path: str
    size: int
    digest: str
