"""One execution in flight: collects its events, and turns them into the record or the error."""

from __future__ import annotations

import json
import os
import shutil
import time
from typing import Any

from tunekit.build import audit
from tunekit.build.executor import Running
from tunekit.errors import ActionError, GateError
from tunekit.hashing import hex_of
from tunekit.health import UNHEALTHY
from tunekit.parts import Made, listed, part_key
from tunekit.plan.planner import Node, Planner
from tunekit.protocol import Request, misformed
from tunekit.store import artifacts, records
from tunekit.store.leases import Lease
from tunekit.store.store import Store


class Attempt:
    """`folder` is the action's staging directory; it goes when the record is published."""

    def __init__(self, node: Node, lease: Lease, running: Running, request: Request, cpus: int) -> None:
        self.node = node
        self.cpus = cpus
        self.lease = lease
        self.running = running
        self.request = request
        self.folder = os.path.dirname(request.staging)
        self.name = records.new_attempt()
        self.started = time.time()
        self.effective: dict[str, Any] = {}
        self.metrics: list[dict[str, Any]] = []
        self.warnings: list[dict[str, Any]] = []
        self.gates: list[dict[str, Any]] = []
        self._parts: list[Made] = []
        self._counts = {"total": 0, "made": 0, "rows_made": 0, "rows_copied": 0}
        self.outputs: dict[str, str] | None = None
        self.error: dict[str, Any] | None = None

    def take(self, event: dict[str, Any], store: Store) -> bool:
        """Account for one event of the worker. False: it is none of our protocol, and fails the action, not the build
        (code of a project runs where events are written)."""
        try:
            why = misformed(event)
            if not why:
                self._take(event, store)
        except (
            ValueError,
            IndexError,
            AttributeError,
            TypeError,
        ) as e:
            why = str(e)
        if why:
            hint = "code of a project may write to no descriptor but 1 and 2"
            message = f"an event of its process cannot be: {why[:300]}"
            self.error = {"slug": "bad-event", "message": message, "hint": hint}
        return not why

    def _take(self, event: dict[str, Any], store: Store) -> None:
        match event["type"]:
            case "effective":
                _merge(self.effective, event["settings"])
            case "metric":
                self.metrics.append({"step": event["step"], **event["figures"]})
            case "warning":
                self.warnings.append({"slug": event["slug"], "message": event["message"]})
            case "gate":
                self.gates.append({k: event[k] for k in ("name", "passed", "measured", "wanted")})
            case "part":
                self._take_part(event, store)
            case "error":
                self.error = {name: str(event[name]) for name in ("slug", "message", "hint")}
            case "done":
                self.outputs = {str(role): hex_of(digest) and digest for role, digest in event["outputs"].items()}

    def _take_part(self, event: dict[str, Any], store: Store) -> None:
        """The key is computed here: a worker that runs a project's code names the chunk, never the settings."""
        base = self.node.bases[event["item"]]
        hex_of(event["chunk"]), hex_of(event["output"])
        self._parts.append(Made(base, event["chunk"], event["output"]))
        self._counts["total"] += 1
        if event["made"]:
            records.add_part(store, part_key(base, event["chunk"]), event["output"])
            self._counts["made"] += 1
            self._counts["rows_made"] += event["rows"] - event["copied"]
            self._counts["rows_copied"] += event["copied"]

    def conclude(self, status: int, planner: Planner, environment: dict[str, Any]) -> dict[str, Any]:
        """The record to publish. Raises ActionError where the worker failed, died, or broke a promise."""
        label = self.node.action.label
        if self.error is not None:
            hint = self.error.get("hint") or f"log: {self.folder}/log.txt"
            kind = GateError if self.error["slug"] == UNHEALTHY else ActionError
            raise kind(f"{label}: {self.error['message']}", slug=self.error["slug"], hint=hint, log=self._tail())
        if status or self.outputs is None:
            how = f"was killed by signal {-status}" if status < 0 else f"ended with status {status}"
            oom = " (out of memory?)" if status == -9 else ""
            raise ActionError(
                f"{label}: its process {how}{oom}",
                slug="worker-died",
                hint=f"build again to continue; log: {self.folder}/log.txt",
                log=self._tail(),
            )
        expected = self.node.outputs
        if self.node.action.source and expected and self.outputs["main"] != expected["main"]:
            message = f"{label}: the source changed while it was read"
            raise ActionError(message, slug="source-changed", hint="build again")
        return self._record(planner, environment)

    def undeclared(self, store: Store, trace: audit.Trace) -> list[audit.Finding]:
        """What the action's processes did that is none of its inputs (`--audit`)."""
        used = [made.output for made in [*self._parts, *listed(self.request.previous)]]
        return audit.undeclared(store, self.request, trace.of(self.running.pid), used)

    def parts_list(self) -> str:
        """What the label's next execution may copy rows from."""
        return Made.write(self._parts)

    def clear(self) -> None:
        """Remove the staging folder. A worker that ended well and printed nothing has done it, as a rule."""
        if os.path.isdir(self.folder):
            shutil.rmtree(self.folder, ignore_errors=True)

    def _tail(self) -> str:
        return self._log().decode(errors="replace")[-3000:]

    def _log(self) -> bytes:
        try:
            path = f"{self.folder}/log.txt"
            if not os.stat(path).st_size:
                return b""
            with open(path, "rb") as file:
                return file.read()
        except FileNotFoundError:
            return b""

    def _record(self, planner: Planner, environment: dict[str, Any]) -> dict[str, Any]:
        action, store = self.node.action, planner.store
        digests = planner.input_digests(action)
        return {
            "key": self.node.key,
            "attempt": self.name,
            "label": action.label,
            "kind": action.kind,
            "preimage": self.node.image,
            "inputs": {
                role: [
                    {"label": e.action, "output": e.output or "main", "digest": d}
                    for e, d in zip(edges, digests[role], strict=True)
                ]
                for role, edges in action.inputs.items()
            },
            "source": action.source,
            "outputs": self.outputs,
            "spec": action.spec,
            "effective": self.effective,
            "warnings": self.warnings,
            "gates": self.gates,
            "parts": self._counts if self._parts else {},
            "environment": environment,
            "started": round(self.started, 3),
            "seconds": round(time.time() - self.started, 3),
            "log": artifacts.add_bytes(store, log) if (log := self._log()) else "",
            "metrics": _metrics(store, self.metrics),
        }


def _metrics(store: Store, points: list[dict[str, Any]]) -> str:
    """The metrics history as an object of JSON lines; one line a step (a resumed run repeats none)."""
    if not points:
        return ""
    by_step: dict[int, dict[str, Any]] = {}
    for point in points:
        by_step.setdefault(point["step"], {}).update(point)
    lines = [json.dumps(by_step[step], sort_keys=True) for step in sorted(by_step)]
    return artifacts.add_bytes(store, ("\n".join(lines) + "\n").encode())


def _merge(into: dict[str, Any], more: dict[str, Any]) -> None:
    for key, value in more.items():
        below = into.get(key)
        if isinstance(below, dict) and isinstance(value, dict):
            _merge(below, value)
        else:
            into[key] = value
