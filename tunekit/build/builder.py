"""The build: run what is stale, in order, side by side where cores allow, and never twice."""

from __future__ import annotations

import gc
import os
import selectors
import time
from collections.abc import Callable
from functools import cached_property
from typing import Any, NamedTuple

from tunekit import diskspace, variables
from tunekit.build import audit, environment, gates, history, links, trust
from tunekit.build.attempt import Attempt
from tunekit.build.executor import Running, stop
from tunekit.build.fetching import Fetching
from tunekit.build.finish import early
from tunekit.build.frontier import Frontier
from tunekit.build.nurseries import Nurseries
from tunekit.build.outcome import outcome
from tunekit.build.request import Requests
from tunekit.errors import ActionError, GateError, LockError, TunekitError
from tunekit.kinds import kind_of
from tunekit.plan.planner import BLOCKED, FRESH, UNLOCKED, Node, Planner
from tunekit.store import leases, records
from tunekit.store.in_use import Announcer

Listener = Callable[[dict[str, Any]], None]


class Options(NamedTuple):
    """How to build. `jobs`: actions at once; 0: as many as cores allow. `finish`: keys of runs that are
    ended where they stand. `audit`: say what actions read that is none of their inputs."""

    jobs: int = 0
    keep_going: bool = False
    trust: bool = False
    offline: bool = False
    finish: frozenset[str] = frozenset()
    audit: bool = False


class Result(NamedTuple):
    """`executed`: labels that ran, in order of their end; `failed`: label → error; `fresh`: how many had their
    result and did not run; `records`: label → record; `fetched`: those of the fresh that came from the remote."""

    executed: list[str]
    failed: dict[str, TunekitError]
    fresh: int
    records: dict[str, dict[str, Any]]
    fetched: list[str] = []


class Builder:
    """One build of some labels. Events of actions and of the build itself go to the listener."""

    def __init__(self, planner: Planner, labels: list[str], options: Options, listener: Listener) -> None:
        self.planner = planner
        self.labels = labels
        self.options = options
        self.listen = listener
        self.root = planner.inputs.root
        self.store = planner.store
        self.cores = len(os.sched_getaffinity(0))
        self.running: dict[str, Attempt] = {}
        self.executed: list[str] = []
        self.found = 0  # of those that were to run: their result turned out to be there
        self.failed: dict[str, TunekitError] = {}
        self.records: dict[str, dict[str, Any]] = {}
        self._nurseries = Nurseries(self.store, options.audit, self._died)
        self._announcer = Announcer(self._nurseries.home)
        self._selector = selectors.DefaultSelector()
        self._waiting: dict[str, float] = {}
        self._looked = 0.0  # when the nurseries were looked after
        self._changed = True  # what runs, since it was last asked what may start
        self.order: list[str] = []
        self.frontier = Frontier([], planner.graph.needs)
        self._late: set[str] = set()  # that the remote turned out to have as the build went on
        self._refused = False  # a result did not arrive
        self.requests = Requests(planner, self.records)
        self.history = history.Pen(self.root)
        self.fetching = Fetching(planner, listener)
        self._gated = set(planner.graph.gated)
        self.links: dict[str, str] | None = None  # set when everything asked for is there

    def run(self) -> Result:
        """Build. Raises LockError before anything runs if a needed source is not pinned. KeyboardInterrupt stops
        every child first; staging stays, so the next build continues."""
        nodes = self.planner.plan(self.labels)
        gc.freeze()  # the plan stays: no need to look through it again and again
        gc.enable()  # from here on it may run for days
        self.order = list(nodes)
        missing = [str(r) for n in nodes.values() if n.state in (UNLOCKED, BLOCKED) for r in n.reasons]
        if missing:
            raise LockError("; ".join(dict.fromkeys(missing)), slug="unlocked", hint="tunekit lock")
        self._check_trust(nodes)
        links.register(self.root, self.store)  # from here on gc knows whose results these are
        if self.options.audit and any(n.run for n in nodes.values()):
            audit.check()
        self._selector.register(self.fetching.fd, selectors.EVENT_READ, self.fetching.take)
        planned: set[str] = set()  # to run
        try:
            while True:
                planned |= {label for label, n in nodes.items() if n.run}
                told = {"total": len(planned), "fresh": len(nodes) - len(planned), "order": self._steps(nodes)}
                self.listen({"type": "plan", **told})
                for node in nodes.values():
                    if node.run:  # the slow imports begin while light actions run
                        self._nurseries.of(node.action.kind)
                self._refused = False
                self._loop()
                if not self._refused or self._given_up:
                    break
                nodes = self.planner.plan(self.labels)  # what did not arrive is made, from what may have to be fetched
                self._check_trust(nodes)
        finally:
            self._close()
        self._finish()
        fresh = len(nodes) - len(planned) + self.found
        return Result(self.executed, self.failed, fresh, self.records, list(self.fetching.fetched))

    @cached_property
    def environment(self) -> dict[str, Any]:
        """The same for every action of a build."""
        return environment.describe(self.planner.inputs)

    def _check_trust(self, nodes: dict[str, Node]) -> None:
        """Before anything runs: all code that this build may execute (again, by content, in front of each worker)."""
        code: dict[str, str] = {}
        users = []
        for label, node in nodes.items():
            if node.run and node.action.code:
                code |= self.planner.code_digests(node.action)
                users.append(label)
        if not self.options.trust:
            code |= trust.variables(self.root, self.planner.graph.pass_env) if code else {}
            more = f" and {len(users) - 3} more" if len(users) > 3 else ""
            trust.check(self.root, code, ", ".join(users[:3]) + more)

    def _steps(self, nodes: dict[str, Node]) -> list[dict[str, Any]]:
        return [
            {"label": label, "reasons": [str(r) for r in n.reasons], "needs": self.planner.graph.needs(label)}
            for label, n in nodes.items()
            if n.run
        ]

    # -- the loop ----------------------------------------------------------------------------

    def _loop(self) -> None:
        graph, nodes = self.planner.graph, self.planner.nodes
        fetched = [label for label in self.order if nodes[label].fetch]
        self.frontier = Frontier(
            [label for label in self.order if nodes[label].run or nodes[label].fetch],
            lambda label: [] if nodes[label].fetch else graph.needs(label),
        )
        for label in (*fetched, *self.failed):
            self.frontier.started(label)
        if self.planner.elsewhere is not None:
            self.fetching.adopt_known({label: nodes[label] for label in self.order})
            self.planner.mark(self.order, self.labels)
        if fetched:
            self.fetching.begin(fetched, self._on_fetched)
        self._changed = True
        for label in self.order:
            if not (nodes[label].run or nodes[label].fetch):
                self._judge(label)
        while (not self._given_up and (self.frontier or self.fetching.busy)) or self.running:
            if self._changed or self._waiting:
                self._changed = False
                self._start_ready()
            if not (self.running or self.fetching.busy):
                if self.frontier.waits(self._waiting):
                    time.sleep(0.2)  # another build holds the lease of all that could run
                    continue
                break
            for key, _ in self._selector.select(timeout=0.5):
                key.data()
            if time.monotonic() - self._looked > 0.5:
                self._looked = time.monotonic()
                self._nurseries.look_after()

    @property
    def _given_up(self) -> bool:
        """Something failed, and nothing more is to start."""
        return bool(self.failed) and not self.options.keep_going

    def _on_fetched(self, label: str, here: bool) -> None:
        """A result came, or did not: then it is made, and its users wait for the next round."""
        self._changed = True
        if not here:
            self._refused = True
        elif label in self._late:
            self._hit(label, self.planner.nodes[label], "fetched")
        else:
            self._judge(label)
            if label not in self.failed:
                self.frontier.ended(label)

    def _start_ready(self) -> None:
        """Start what may start and has room."""
        kept = []
        while (label := self.frontier.pop()) is not None:
            if self._given_up:
                self.frontier.clear()
                return
            if self._full():
                kept.append(label)
                break
            cpus = self._grant(label)
            if cpus > 0 and self._try_start(label, cpus):
                self.frontier.started(label)
            else:
                kept.append(label)
        self.frontier.put_back(kept)

    def _full(self) -> bool:
        """Whether not even the smallest action has room."""
        if self.options.jobs and len(self.running) >= self.options.jobs:
            return True
        return self._free() <= 0

    def _free(self) -> int:
        return self.cores - sum(attempt.cpus for attempt in self.running.values())

    def _grant(self, label: str) -> int:
        """How many cores an action would have if it started now; 0 or less: it has to wait."""
        action, free = self.planner.graph.actions[label], self._free()
        if kind_of(action.kind).spreads:
            return max(free - self.frontier.ready, min(free, 1))  # one is left for each of the others
        wanted = min(action.cpus or self.cores, self.cores)
        return wanted if wanted <= free or not self.running else 0

    def _try_start(self, label: str, cpus: int) -> bool:
        """True if the label needs no more attention: it runs, or its result turned out to be there."""
        before = self.planner.state.memo.get(label)
        node = self.planner.evaluate(label)
        if node.state == FRESH and node.present:
            self._hit(label, node, "cut off" if before and before[1] == node.key else "found")
            return True
        if node.key in self.fetching.keys:
            return False  # on its way, for another label of this build
        if self.fetching.is_there(label):
            self._late.add(label)
            self.fetching.begin([label], self._on_fetched)
            return True
        if self.fetching.begin_parts(node, self._look_again):
            return False
        if any(a.node.key == node.key for a in self.running.values()):
            return False  # the same work under another label of this build
        lease = leases.acquire(self.store, node.key)
        if lease is None:
            if label not in self._waiting:
                self._waiting[label] = time.time()
                self.listen({"type": "waiting", "action": label})
            return False
        if node.action.source or records.any_of(self.store, node.key):  # the lease was another build's until now
            node = self.planner.evaluate(label)
            if node.state == FRESH and node.present:
                lease.release()
                self._hit(label, node, "shared")
                return True
        try:
            self._execute(label, node, lease, cpus)
        except BaseException as e:
            lease.release()
            if not isinstance(e, TunekitError):
                raise
            self._fail(label, e)
        return True

    def _execute(self, label: str, node: Node, lease: leases.Lease, cpus: int) -> None:
        code = self.planner.code_digests(node.action) if node.action.code else {}
        if not self.options.trust:
            asked = trust.variables(self.root, self.planner.graph.pass_env) if code else {}
            trust.check(self.root, code | asked, label)
        environment.need(self.planner.inputs, label, node.action.packages)
        diskspace.need(self.store.root)
        self.fetching.parts(node, self.store.staging(node.key))
        finish = node.key in self.options.finish
        request = self.requests.make(node, cpus, self.options.offline, finish, self._announcer.keep)
        self._announcer.begin(request)
        given = variables.of_action(os.environ, node.action.source, self.planner.graph.pass_env)
        running = self._nurseries.of(node.action.kind).start(label, request, given)
        attempt = self.running[label] = Attempt(node, lease, running, request, cpus)
        self._changed = True
        self._selector.register(running.fd, selectors.EVENT_READ, lambda: self._on_events(label, running))
        reasons = ["finished early, from its last checkpoint"] if finish else [str(r) for r in node.reasons]
        self.listen({"type": "begin", "action": label, "key": node.key, "reasons": reasons, "log": attempt.folder})

    def _look_again(self) -> None:
        self._changed = True

    # -- what comes back -----------------------------------------------------------------------

    def _died(self, group: str, why: str) -> None:
        """End what a dead nursery ran."""
        for label in [x for x, a in self.running.items() if kind_of(a.node.action.kind).preload == group]:
            running = self.running[label].running
            self._selector.unregister(running.fd)
            running.close()
            self._end(label, ActionError(f"{label}: {why}", slug="worker-died", hint="build again to continue"))

    def _on_events(self, label: str, running: Running) -> None:
        attempt = self.running.get(label)
        if attempt is None or attempt.running is not running:
            return  # it ended with its nursery, in the same round of the selector
        found, ended = running.read()
        for event in found:
            if attempt.take(event, self.store):
                self.listen(event)
        if not ended:
            return
        status = self._nurseries.running(attempt.node.action.kind).await_exit(running)
        if status is None:
            self._nurseries.look_after()
            return
        self._selector.unregister(running.fd)
        running.close()
        self._audit(attempt)
        try:
            names = sorted(name for name in self.planner.graph.pass_env if name in os.environ)
            record = attempt.conclude(status, self.planner, self.environment | ({"variables": names} if names else {}))
        except TunekitError as e:
            self._end(label, e)
            return
        self._publish(label, attempt, record)

    def _audit(self, attempt: Attempt) -> None:
        """Warn of what the action read that is none of its inputs."""
        trace = self._nurseries.running(attempt.node.action.kind).trace
        if trace is None or attempt.node.action.source:
            return
        found = [f.message(self.root) for f in attempt.undeclared(self.store, trace)]
        more = [f"… and {len(found) - audit.SHOWN} more"] if len(found) > audit.SHOWN else []
        for message in found[: audit.SHOWN] + more:
            warning = {"type": "warning", "slug": "undeclared-input", "message": message}
            attempt.take(warning, self.store)
            self.listen({**warning, "action": attempt.node.action.label})

    def _publish(self, label: str, attempt: Attempt, record: dict[str, Any]) -> None:
        selected = records.add(self.store, record, attempt.parts_list(), self._nurseries.blank(attempt.running))
        try:
            found = outcome(self.planner, record, selected)
        except LockError as e:
            attempt.clear()
            self.history.append(label, record, "attempt")  # gc keeps it: it may be promoted
            self._end(label, e)
            return
        if found.record["attempt"] != record["attempt"]:
            self.history.append(label, record, "attempt")
        selected, (slug, message) = found
        if slug:
            self.listen({"type": "warning", "action": label, "slug": slug, "message": message})
        node = attempt.node
        if node.key in self.options.finish and not early(record):
            message = "its method knows no early end: it was trained in full"
            self.listen({"type": "warning", "action": label, "slug": "not-finished-early", "message": message})
        node.outputs, node.present, node.state, node.run = selected["outputs"], True, FRESH, False
        self.planner.forced.discard(label)
        attempt.clear()
        self.planner.remember(node)
        self.history.append(label, selected, "built")
        self.executed.append(label)
        self._release(label)
        self._done(label, selected, "built")

    def _hit(self, label: str, node: Node, how: str) -> None:
        record = {} if node.action.source else self.planner.results.record(node.key) or {}
        node.run = False
        self.found += 1
        if record and how != "fetched":  # which is in the history since it came
            self.history.append(label, record, how)
        self._done(label, record, how)

    def _done(self, label: str, record: dict[str, Any], how: str) -> None:
        self.records[label] = record
        self.listen({"type": "end", "action": label, "how": how, "record": record})
        self._judge(label)
        if label not in self.failed:
            self.frontier.ended(label)

    def _fail(self, label: str, error: TunekitError) -> None:
        self.failed[label] = error
        what = {"slug": error.slug, "message": error.message, "hint": error.hint, "log": error.data.get("log", "")}
        self.listen({"type": "failed", "action": label, **what})
        if self.options.keep_going:
            for lost in self.frontier.drop(label):
                self.failed[lost] = ActionError(f"{lost} needs what failed", slug="upstream-failed")

    def _end(self, label: str, error: TunekitError) -> None:
        self._release(label)
        self._fail(label, error)

    def _release(self, label: str) -> None:
        attempt = self.running.pop(label)
        self._announcer.end(attempt.node.key)
        attempt.lease.release()
        self._changed = True

    # -- the end -------------------------------------------------------------------------------

    def _finish(self) -> None:
        """Point `out/` at the results, and remember that this request is complete."""
        nodes = self.planner.nodes
        for label in self.executed:
            for tree in (nodes[label].outputs or {}).values():
                self.planner.presence.present(tree)  # with their signatures as they are now that staging is gone
        whole = [x for x in self.labels if nodes[x].outputs is not None and nodes[x].present]
        made = links.point(self.root, self.planner, [x for x in whole if not nodes[x].in_place])
        if not self.failed and len(whole) == len(self.labels):
            self.links = made

    def _judge(self, label: str) -> None:
        """Hold a result against its gates; a failed one keeps the result and blocks what would use it."""
        if label not in self._gated or not self.planner.nodes[label].outputs:
            return
        record = self.records.get(label) or self.planner.results.measured(self.planner.nodes[label].key)
        for receipt in gates.judge(self.planner.graph.actions[label].gates, record):
            self.listen({"type": "gate", "action": label, **receipt._asdict()})
            if not receipt.passed:
                hint = "the result is kept; change the bound or the run"
                self._fail(label, GateError(f"{label}: {receipt}", hint=hint))

    def _close(self) -> None:
        self.fetching.close()
        self._nurseries.listen()
        stop([attempt.running for attempt in self.running.values()], grace=1.0)
        self._nurseries.close()
        for attempt in self.running.values():
            attempt.running.close()
            attempt.lease.release()
        self._selector.close()
        self._announcer.close()
        self.history.close()
