"""The door: what the controller asks of a worker (request 1) and what it says back (events 1).

The request is JSON in a memory file that the worker inherits. Events are JSON objects, one a line, on an
inherited file descriptor (never stdout, which goes to the log together with stderr).
"""

from __future__ import annotations

import json
import math
import os
import time
from bisect import bisect_right
from functools import cache
from typing import Any, NamedTuple

from tunekit.label import came_from
from tunekit.parts import Shelf

PROTOCOL = 1
EVENT_TYPES = ("start", "progress", "metric", "effective", "part", "warning", "gate", "error", "done")
_NUMBER = (int, float)
# What an event of a type has at least: code of a project runs where they are written, so they are looked at.
_FIELDS: dict[str, dict[str, Any]] = {
    "start": {"pid": int},
    "progress": {"done": _NUMBER, "total": _NUMBER, "unit": str},
    "metric": {"step": int, "figures": dict},
    "effective": {"settings": dict},
    "part": {"item": int, "chunk": str, "output": str, "made": bool, "rows": int, "copied": int},
    "warning": {"slug": str, "message": str},
    "gate": {"name": str, "passed": bool, "measured": object, "wanted": str},
    "error": {"slug": str, "message": str, "hint": str},
    "done": {"outputs": dict},
}
_UNFIT = "\0unfit"
HELD_BACK = ("start", "progress", "effective", "gate")


class Input(NamedTuple):
    """One input as the worker sees it: a directory that must not be written to.

    `reading`: of files that are read where they lie (kind `files`; `path` then holds links): what their dataset says
    of them, and `signatures`, by which a file that changed is known: name → `inode:size:mtime_ns:ctime_ns`.
    `origins`: of a dataset, what its record says of where its rows came from: [row, name, its row] where rows that
    follow each other there begin; only errors say it.
    """

    path: str
    digest: str
    kind: str
    label: str
    reading: dict[str, Any] = {}
    origins: list[list[Any]] = []

    def came_from(self, row: int) -> str:
        """Behind `row <row>`: ` (a.jsonl, its row 7)`, or nothing where nobody knows."""
        at = bisect_right(self.origins, row, key=lambda run: run[0]) - 1
        if at < 0:
            return ""
        first, name, inner = self.origins[at]
        return came_from(name, inner + row - first, row)


class Request(NamedTuple):
    """Everything a worker is told. `spec` is the target's whole decoded spec as JSON values."""

    action: str  # label
    key: str
    kind: str  # registry name: "dataset", "run.sft", …
    spec: dict[str, Any]
    inputs: dict[str, list[Input]]  # role → inputs in order
    code: dict[str, dict[str, str]]  # project path → {"digest": …, "snapshot": absolute path}
    code_root: str  # directory that holds the snapshot; first on sys.path of user code
    staging: str  # survives a kill; the same key finds it again
    out: str  # empty directory; `done` names its sub-directories by role
    store: str
    resources: dict[str, Any]  # {"cpus": int, "gpus": [int], "memory": bytes or 0}
    seed: int
    provenance: dict[str, Any]  # label, source ids: what may be written into an artifact's config
    finish: bool = False  # a training run: take no further step, make the result of its last checkpoint
    bases: list[str] = []  # of parts (tunekit.parts), one an item; empty where an action has none
    watch: str = ""  # a folder for what trackers and profilers write: of no artifact, and in no key; "": there is none
    previous: str = ""  # the parts of this label's last execution, for `tunekit.parts.listed`: a hint, never needed

    def one(self, role: str) -> Input:
        """The only input of a role."""
        (only,) = self.inputs[role]
        return only

    def maybe(self, role: str) -> Input | None:
        found = self.inputs.get(role) or []
        return found[0] if found else None

    def to_json(self) -> str:
        body = self._asdict()
        body["inputs"] = {role: [i._asdict() for i in items] for role, items in self.inputs.items()}
        return json.dumps({"protocol": PROTOCOL, **body}, sort_keys=True)

    @classmethod
    def from_json(cls, text: str) -> Request:
        body = json.loads(text)
        if body.pop("protocol") != PROTOCOL:
            raise ValueError(f"request protocol is not {PROTOCOL}: the worker and the controller differ in version")
        body["inputs"] = {role: [Input(**i) for i in items] for role, items in body["inputs"].items()}
        return cls(**body)


def blank_of(home: str | os.PathLike[str], pid: int) -> str:
    """Where a process that printed nothing leaves its empty log, in the build's own folder."""
    return f"{home}/blank-{pid}"


def event_of(line: bytes) -> dict[str, Any] | None:
    """A line of a worker as an event; None for what is none. What JSON does not have, though Python's parser takes it
    (NaN, half a character), is left out of it, and `misformed` says so."""
    try:
        event = _decoder().decode(line)
    except (ValueError, RecursionError) as e:
        try:
            event = json.loads(line)
        except (ValueError, RecursionError):
            return None
        if isinstance(event, dict) and "type" in event:
            event = {"type": event["type"], _UNFIT: str(e)}
    return event if isinstance(event, dict) and "type" in event else None


@cache
def _decoder() -> Any:
    import msgspec  # the plan reads this module, too

    return msgspec.json.Decoder()


def misformed(event: dict[str, Any]) -> str:
    """Why an event (of `event_of`) cannot be one of ours; "" if it can."""
    fields = _FIELDS.get(event["type"]) if isinstance(event["type"], str) else None
    if fields is None:
        return f"there is no event {event['type']!r}"
    if _UNFIT in event:
        return f"a `{event['type']}` event is no JSON: {event[_UNFIT]}"
    for name, type_ in fields.items():
        value = event.get(name)
        if name not in event or not isinstance(value, type_) or (isinstance(value, bool) and type_ in (int, _NUMBER)):
            return f"`{name}` of a `{event['type']}` event is {value!r}"
    return ""


class Events:
    """The worker's pen. Only rank 0 of a distributed action holds one that writes (fd ≥ 0)."""

    def __init__(self, action: str, fd: int, shelf: Shelf | None = None) -> None:
        self.action = action
        self.shelf = shelf
        self._fd = fd
        self._seq = 0
        self._last_progress = 0.0
        self._held = b""
        self._sent = time.monotonic()

    def emit(self, type: str, **data: Any) -> None:
        """Write an event. One of `HELD_BACK` that comes within 50 ms of the last write (or of the beginning) goes with
        the next one: a quick action wakes the controller twice, not five times."""
        if type not in EVENT_TYPES:
            raise ValueError(f"unknown event type {type!r}")
        if self._fd < 0:
            return
        self._seq += 1
        line = json.dumps(
            {"v": 1, "seq": self._seq, "t": round(time.time(), 3), "action": self.action, "type": type, **_finite(data)}
        )
        self._held += line.encode() + b"\n"
        if type not in HELD_BACK or time.monotonic() - self._sent >= 0.05:
            self.flush()

    def flush(self) -> None:
        """Write what was held back."""
        self._sent = time.monotonic()
        left, self._held = memoryview(self._held), b""
        while left:
            left = left[os.write(self._fd, left) :]

    def progress(self, done: float, total: float, unit: str = "step", **figures: float) -> None:
        """How far the action is (`total` 0: nobody knows of how much); at most 10 a second reach the controller, the
        last one always."""
        now = time.monotonic()
        if done != total and now - self._last_progress < 0.1:
            return
        self._last_progress = now
        self.emit("progress", done=done, total=total, unit=unit, **figures)

    def metric(self, step: int, **figures: float) -> None:
        """One point of the metrics history (finite numbers only; others are dropped with a warning)."""
        kept = {name: value for name, value in figures.items() if math.isfinite(value)}
        if len(kept) < len(figures):
            lost = ", ".join(sorted(figures.keys() - kept.keys()))
            self.warning("not-finite", f"step {step}: not a finite number: {lost}")
        self.emit("metric", step=step, figures=kept)

    def effective(self, **settings: Any) -> None:
        """What really took effect. Merged over the action's life, stored in the record."""
        self.emit("effective", settings=settings)

    def part(self, item: int, chunk: str, output: str, *, made: bool, rows: int, copied: int = 0) -> None:
        """One part of the action, when it is there. `made`: it was not there before, and is durable now. `copied`: how
        many of its rows come from parts of the last execution."""
        self.emit("part", item=item, chunk=chunk, output=output, made=made, rows=rows, copied=copied)

    def warning(self, slug: str, message: str, **data: Any) -> None:
        self.emit("warning", slug=slug, message=message, **data)

    def gate(self, name: str, passed: bool, measured: Any, wanted: str) -> None:
        self.emit("gate", name=name, passed=passed, measured=measured, wanted=wanted)


def _finite(value: Any) -> Any:
    """The value with null for what JSON has no number for: a record is read by other languages, too."""
    if isinstance(value, float):
        return value if math.isfinite(value) else None
    if isinstance(value, dict):
        return {k: _finite(v) for k, v in value.items()}
    return [_finite(v) for v in value] if isinstance(value, (list, tuple)) else value
