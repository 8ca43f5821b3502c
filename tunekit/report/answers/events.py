"""`build --json`: one event a line, told apart by `type`. Those of a worker have `v`, `seq` and `t` (its protocol's
version, its own count, the time); those of the build itself have not."""

from __future__ import annotations

from typing import Any, Literal

import msgspec

from tunekit.report.answers.answer import Number, Record

Schema = Literal["tunekit/build/1"]
Maybe = int | msgspec.UnsetType


class Event(msgspec.Struct, kw_only=True, forbid_unknown_fields=True, tag_field="type", tag=str.lower):
    """`type` is the struct's name in lower case (of `Receipt`: `gate`)."""

    schema: Schema


class Step(msgspec.Struct, kw_only=True, forbid_unknown_fields=True):
    """One action that will run."""

    label: str
    reasons: list[str]
    needs: list[str]


class Plan(Event):
    """First: what will run, in order."""

    total: int
    fresh: int
    order: list[Step]


class Begin(Event):
    """An action starts; its log is in the folder `log`."""

    action: str
    key: str
    reasons: list[str]
    log: str


class Waiting(Event):
    """Another build runs this action."""

    action: str


class End(Event):
    """An action has its result. `record` is null for a source that was there already."""

    action: str
    how: str
    record: Record | None


class Failed(Event):
    """An action failed, or did not pass a gate. `log`: the end of its log."""

    action: str
    slug: str
    message: str
    hint: str
    log: str


class Fetch(Event):
    """Results of these actions are taken from the remote."""

    actions: list[str]
    remote: str


class Fetching(Event):
    """How far that is."""

    done: int
    total: int
    unit: str
    remote: str


class Fetched(Event):
    """The result of an action came."""

    action: str
    seconds: Number
    remote: str


class Summary(Event):
    """Last: labels that ran, how many had their result, which of those came from the remote, labels that failed."""

    executed: list[str]
    fresh: int
    fetched: list[str]
    failed: list[str]


class Said(Event, kw_only=True):
    """What a worker's events have in common."""

    action: str
    v: Maybe = msgspec.UNSET
    seq: Maybe = msgspec.UNSET
    t: Number | msgspec.UnsetType = msgspec.UNSET


class Start(Said):
    """Its process runs."""

    pid: int


class Progress(Said, forbid_unknown_fields=False):
    """How far it is; `total` 0: nobody knows of how much. Further keys are figures."""

    done: Number
    total: Number
    unit: str


class Metric(Said):
    """One point of the metrics history."""

    step: int
    figures: dict[str, Number]


class Effective(Said):
    """Settings as they took effect; merged over the action's life."""

    settings: dict[str, Any]


class Part(Said):
    """One part is there: of the item's chunk, an artifact; `made`: it was not there before."""

    item: int
    chunk: str
    output: str
    made: bool
    rows: int
    copied: int


class Warning(Said, forbid_unknown_fields=False):
    """Of an action or of the build. Further keys (`rows`, `fields`) say more."""

    slug: str
    message: str


class Receipt(Said, tag="gate"):
    """A bound and what was measured."""

    name: str
    passed: bool
    measured: Any
    wanted: str


class Error(Said):
    """What a worker failed with; `failed` follows."""

    slug: str
    message: str
    hint: str


class Done(Said):
    """A worker is ready; `end` follows."""

    outputs: dict[str, str]


Build = (
    Plan | Begin | Waiting | Fetch | Fetching | Fetched | End | Failed | Summary
    | Start | Progress | Metric | Effective | Part | Warning | Receipt | Error | Done
)  # fmt: skip
