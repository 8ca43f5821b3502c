"""A build as Markdown, for the page of a CI job: what ran, what was reused, why, and figures against the last time.

`tunekit build --summary FILE` appends it, so that `$GITHUB_STEP_SUMMARY` may hold several.
"""

from __future__ import annotations

import time
from pathlib import Path
from types import TracebackType
from typing import Any

from tunekit.build import history
from tunekit.build.builder import Listener
from tunekit.errors import TunekitError
from tunekit.hashing import hex_of, short
from tunekit.plan.planner import Planner
from tunekit.report.chunks import chunks
from tunekit.report.figures import number, seconds
from tunekit.report.metrics import summary_of
from tunekit.report.plan import reasons
from tunekit.report.settings import flat
from tunekit.store import records

_MOST = 6  # figures of one result


class Summary:
    """Takes a build's events; as a context manager it writes the page, however the build ends.

    `link`: the folder of records behind a URL (`https://…/ac/`), if they are to be had there.
    """

    def __init__(self, file: Path, link: str = "") -> None:
        self.file = file
        self.link = link
        self.planner: Planner | None = None  # set when there is one: without it nothing had to be planned
        self.unchanged = 0
        self._began = time.monotonic()
        self._why: dict[str, list[str]] = {}
        self._ended: dict[str, dict[str, Any]] = {}
        self._failed: dict[str, dict[str, Any]] = {}
        self._notes: list[str] = []

    def __enter__(self) -> Summary:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        with open(self.file, "a", encoding="utf-8") as out:
            out.write("\n".join(self.lines(error)) + "\n")

    def beside(self, planner: Planner, listen: Listener) -> Listener:
        """A listener that hears what `listen` hears, for a build of the planner's labels."""
        self.planner = planner

        def both(event: dict[str, Any]) -> None:
            self.take(event)
            listen(event)

        return both

    def take(self, event: dict[str, Any]) -> None:
        """Account for one event."""
        match event["type"]:
            case "plan":
                self._why |= {step["label"]: step["reasons"] for step in event["order"]}
            case "begin":
                self._why[event["action"]] = event["reasons"]
            case "fetched":  # of the remote; no `end` follows where it was all that was to be done
                self._ended[event["action"]] = {"how": "fetched", "record": None, "seconds": event["seconds"]}
            case "end":
                self._ended[event["action"]] = {**self._ended.get(event["action"], {}), **event}
            case "failed":
                self._failed[event["action"]] = event
            case "warning":
                self._notes.append(f"**{event['slug']}** {event['action']}: {event['message']}")
            case "gate" if not event["passed"]:
                told = f"{event['name']}: {event['measured']} (wanted {event['wanted']})"
                self._notes.append(f"**gate** {event['action']}: {told}")

    # -- the page ------------------------------------------------------------------------------

    def lines(self, error: BaseException | None = None) -> list[str]:
        """The page, line by line."""
        out = ["## tunekit build", "", self._headline(error), ""]
        rows = [self._row(label) for label in self._worked()]
        if rows:
            out += ["| action | what | why | time | result |", "|---|---|---|---|---|", *rows, ""]
        if error is not None:
            told = error.render() if isinstance(error, TunekitError) else f"{type(error).__name__}: {error}"
            out += ["```text", told, "```", ""]
        for event in self._failed.values():
            tail = (event.get("log") or "").rstrip().splitlines()  # 3000 characters at most
            out += [f"**error[{event['slug']}]** {_cell(event['message'])}", ""]
            out += ["```text", *(line.replace("```", "'''") for line in tail), "```", ""] if tail else []
        out += [f"- {_cell(note)}" for note in self._notes] + ([""] if self._notes else [])
        return out + self._reused() + self._records()

    def _headline(self, error: BaseException | None) -> str:
        took = seconds(time.monotonic() - self._began)
        ran = sum(e["how"] == "built" for e in self._ended.values())
        if isinstance(error, KeyboardInterrupt):
            return f"**interrupted** after {took}; the next build continues"
        if error is not None or self._failed:
            return f"**failed** after {took}: {ran} run, {len(self._failed)} failed"
        if self.planner is None:
            return f"**nothing to do**: {self.unchanged} targets up to date, in {took}"
        found = len(self._ended) - ran
        fresh = len([label for label in self.planner.nodes if label not in self._why and label not in self._ended])
        what = f"{ran} run, {found} found, {fresh} fresh" if found else f"{ran} run, {fresh} fresh"
        return f"**built**: {what}, in {took}" if ran or found else f"**nothing to do**: {fresh} fresh, in {took}"

    def _worked(self) -> list[str]:
        """In the order of the plan; what came without having been in it comes last."""
        return list(dict.fromkeys([*self._why, *self._ended, *self._failed]))

    def _row(self, label: str) -> str:
        why = _cell("; ".join(self._why.get(label, [])))
        if label in self._failed:
            return f"| `{label}` | **failed** | {why} | | `{self._failed[label]['slug']}` |"
        event = self._ended.get(label)
        if event is None:
            return f"| `{label}` | did not run | {why} | | |"
        record = self._record(label) or {}
        ran = event["how"] == "built"
        spent = record.get("seconds") if ran else event.get("seconds")
        took = seconds(spent) if spent is not None else ""
        parts = [_cell(x) for x in (chunks(record), *self._figures(record)) if x] if record else []
        return f"| `{label}` | {'ran' if ran else event['how']} | {why} | {took} | {'<br>'.join(parts)} |"

    def _record(self, label: str) -> dict[str, Any] | None:
        """The record of an action that ended: the event's, or the store's for one that was fetched."""
        found: dict[str, Any] | None = self._ended[label]["record"]
        if found or self.planner is None or label not in self.planner.nodes:
            return found or None
        key = self.planner.nodes[label].key
        return self.planner.results.record(key) if key else None

    def _figures(self, record: dict[str, Any]) -> list[str]:
        """`loss 2.31 (2.4 → 2.31)` where the last result had another value."""
        before = dict(flat(summary_of(self._last(record) or {"effective": {}})))
        out = []
        for name, value in flat(summary_of(record)):
            if isinstance(value, bool) or not isinstance(value, (int, float)):
                continue
            old = before.get(name)
            same = old is None or old == value
            out.append(f"{name} {number(value)}" if same else f"{name} {number(value)} (was {number(old)})")
        return out[:_MOST] + ([f"… {len(out) - _MOST} more"] if len(out) > _MOST else [])

    def _last(self, record: dict[str, Any]) -> dict[str, Any] | None:
        """The record before this one of the same label, by the project's history."""
        if self.planner is None:
            return None
        for line in reversed(history.read(self.planner.inputs.root)):
            if line["label"] == record["label"] and line["attempt"] != record["attempt"]:
                known = records.attempts(self.planner.store, line["key"])
                return next((r for r in known if r["attempt"] == line["attempt"]), None)
        return None

    def _reused(self) -> list[str]:
        if self.planner is None:
            return []
        idle = [(x, n) for x, n in self.planner.nodes.items() if x not in self._why and x not in self._ended]
        if not idle:
            return []
        lines = [f"- `{x}`{': ' + _cell('; '.join(reasons(n))) if reasons(n) else ''}" for x, n in idle]
        return ["<details><summary>reused: " + f"{len(idle)}</summary>", "", *lines, "", "</details>", ""]

    def _records(self) -> list[str]:
        """What to look up: the key and the attempt of every result of this build."""
        made = [(label, record) for label in self._ended if (record := self._record(label))]
        if not made:
            return []
        shown = "tunekit show {} --attempt {}"
        lines = [f"- `{label}` key {self._key(r['key'])}: `{shown.format(label, r['attempt'])}`" for label, r in made]
        return ["<details><summary>records</summary>", "", *lines, "", "</details>", ""]

    def _key(self, key: str) -> str:
        return f"[`{short(key)}`]({self.link}{hex_of(key)})" if self.link else f"`{short(key)}`"


def _cell(text: str) -> str:
    """Text in a cell of a table: nothing in it ends the cell, the line, or begins a tag."""
    return " ".join(text.replace("|", "\\|").replace("<", "&lt;").split())
