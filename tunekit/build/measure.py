"""`plan --measure`: a few real steps of a run in a worker, for their time and memory. Nothing is published or kept."""

from __future__ import annotations

import os
import select
import shutil
import statistics
from collections.abc import Iterator
from pathlib import Path
from typing import Any, NamedTuple

from tunekit import variables
from tunekit.build import trust
from tunekit.build.executor import Nursery, Running
from tunekit.build.request import Requests
from tunekit.errors import ActionError, UsageError
from tunekit.kinds import kind_of
from tunekit.plan.estimate.run import settings_of
from tunekit.plan.estimate.volume import volume_of
from tunekit.plan.planner import FRESH, Node, Planner

_STEPS = 3
# A measurement is no training: it asks no tracker and stops for nothing.
_SAID = {"max_steps": _STEPS, "logging_steps": 1, "checkpoint_steps": 10**6, "health": "off", "report_to": []}


class Measured(NamedTuple):
    """`steps`: of the whole run, None where they are not known; `taken`: here."""

    seconds_per_step: float
    peak_memory: int
    taken: int
    steps: int | None
    devices: list[str]


def measure(planner: Planner, node: Node, trusted: bool) -> Measured:
    """Three steps of a run whose inputs are built. Raises UsageError `wrong-kind`, `not-built`; TrustError; what the
    run itself fails with."""
    action = node.action
    if not action.kind.startswith("run."):
        raise UsageError(f"{action.label} takes no steps", slug="wrong-kind", hint="--measure takes a run")
    missing = [need for need in planner.graph.needs(action.label) if planner.nodes[need].state != FRESH]
    if missing:
        message = f"{action.label} cannot be measured before {', '.join(missing)}"
        raise UsageError(message, slug="not-built", hint=f"tunekit build {' '.join(missing)}")
    if action.code and not trusted:
        code = planner.code_digests(action) | trust.variables(planner.inputs.root, planner.graph.pass_env)
        trust.check(planner.inputs.root, code, action.label)
    folder = planner.store.tmp / f"measure-{os.getpid()}"
    folder.mkdir()
    try:
        events = _run(planner, node, folder)
    finally:
        shutil.rmtree(folder, ignore_errors=True)
    return _measured(planner, node, events)


def _run(planner: Planner, node: Node, folder: Path) -> list[dict[str, Any]]:
    """The events of a worker that takes the steps in `folder`."""
    cores = len(os.sched_getaffinity(0))
    cpus = min(node.action.cpus or cores, cores)
    made = Requests(planner, {}).make(node, cpus, offline=True)
    spec = {k: v for k, v in made.spec.items() if k not in ("profile", "patience")} | _SAID
    request = made._replace(spec=spec, staging=str(folder / "action/work"), out=str(folder / "action/out"), watch="")
    nursery = Nursery(kind_of(node.action.kind).preload, folder)
    try:
        running = nursery.start(node.label, request, variables.of_action(os.environ, "", planner.graph.pass_env))
        events = list(_events(running))
        status = None if _told(events) else nursery.await_exit(running)
        running.close()
    finally:
        nursery.kill()  # also before it saves what nobody wants
    if error := next((e for e in events if e["type"] == "error"), None):
        raise ActionError(f"{node.label}: {error['message']}", slug=str(error["slug"]), hint=str(error["hint"]))
    if status:
        oom = "it may have run out of memory: a smaller micro_batch_size" if status == -9 else "build it to see its log"
        raise ActionError(f"{node.label}: its process ended with status {status}", slug="worker-died", hint=oom)
    return events


def _told(events: list[dict[str, Any]]) -> bool:
    return any(e["type"] == "effective" and "pace" in e["settings"] for e in events)


def _events(running: Running) -> Iterator[dict[str, Any]]:
    """Until it has told what is wanted, or ended."""
    ended = False
    while not ended:
        select.select([running.fd], [], [])
        found, ended = running.read()
        yield from found
        ended = ended or _told(found)


def _measured(planner: Planner, node: Node, events: list[dict[str, Any]]) -> Measured:
    said: dict[str, Any] = {}
    for event in events:
        said |= event["settings"] if event["type"] == "effective" else {}
    if "pace" not in said:
        raise ActionError(f"{node.label}: its method tells no pace", slug="not-measured", hint="tunekit build it")
    steps = volume_of(planner, node.label, settings_of(node.action)).steps
    times = said["pace"]["seconds"]
    return Measured(statistics.median(times[1:] or times), int(said["peak_memory"]), len(times), steps, said["devices"])
