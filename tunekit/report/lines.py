"""A build as plain lines: one when an action begins, now and then while it runs, one when it ends."""

from __future__ import annotations

import sys
import time
from typing import Any

from tunekit.build.finish import early
from tunekit.report.chunks import chunks
from tunekit.report.figures import figures, seconds

_EVERY = 10.0
_MOST = 12  # figures of a line while it runs


class Lines:
    """Takes the build's events and prints."""

    def __init__(self) -> None:
        self.total = 0
        self.ended = 0
        self._began: dict[str, float] = {}
        self._said: dict[str, float] = {}

    def take(self, event: dict[str, Any]) -> None:
        handler = getattr(self, "on_" + event["type"], None)
        if handler is not None:
            handler(event)

    def say(self, text: str, *, error: bool = False) -> None:
        stream = sys.stderr if error else sys.stdout
        stream.write(text + "\n")
        stream.flush()  # one write: `print` makes two

    def on_plan(self, event: dict[str, Any]) -> None:
        self.total = event["total"]
        if event["total"]:
            self.say(f"{event['total']} to run, {event['fresh']} fresh")

    def on_begin(self, event: dict[str, Any]) -> None:
        label = event["action"]
        self._began[label] = self._said[label] = time.monotonic()
        self.say(f"  run  {label}  ({'; '.join(event['reasons'])})")

    def on_progress(self, event: dict[str, Any]) -> None:
        label, now = event["action"], time.monotonic()
        if now - self._said.get(label, now) >= _EVERY:
            self._said[label] = now
            self.say(f"       {label}  {event['done']:g}/{event['total']:g} {event['unit']}{figures(event, _MOST)}")

    def on_fetch(self, event: dict[str, Any]) -> None:
        count = len(event["actions"])
        self.say(f"fetching {count} result{'s' * (count != 1)} from {event['remote']}")

    def on_fetched(self, event: dict[str, Any]) -> None:
        self.say(f"  fetched {event['action']}")

    def on_warning(self, event: dict[str, Any]) -> None:
        self.say(f"  warning[{event['slug']}] {event['action']}: {event['message']}", error=True)

    def on_waiting(self, event: dict[str, Any]) -> None:
        self.say(f"  wait {event['action']}  (another build runs it)")

    def on_gate(self, event: dict[str, Any]) -> None:
        if not event["passed"]:
            self.say(
                f"  gate {event['action']}  {event['name']}: {event['measured']} (wanted {event['wanted']})", error=True
            )

    def on_end(self, event: dict[str, Any]) -> None:
        self.ended += 1
        label = event["action"]
        took = f"  {seconds(time.monotonic() - self._began[label])}" if label in self._began else ""
        how = "done" if event["how"] == "built" else event["how"]
        summary = event["record"].get("effective", {}).get("summary", {})
        note = "".join(f"  {text}" for text in (early(event["record"]), chunks(event["record"])) if text)
        self.say(f"[{self.ended}/{self.total}] {how} {label}{took}{figures(summary)}{note}")

    def on_failed(self, event: dict[str, Any]) -> None:
        self.say(f"error[{event['slug']}]: {event['message']}", error=True)
        if event["hint"]:
            self.say(f"  = help: {event['hint']}", error=True)

    def on_summary(self, event: dict[str, Any]) -> None:
        self.say(outcome(event), error=bool(event["failed"]))


def outcome(event: dict[str, Any]) -> str:
    """What a build came to, from its `summary` event."""
    ran, failed = len(event["executed"]), len(event["failed"])
    fetched = len(event.get("fetched", []))
    if not ran and not failed and not fetched:
        return f"nothing to do: {event['fresh']} fresh"
    what = f"{ran} run, {f'{fetched} fetched, ' * bool(fetched)}{event['fresh'] - fetched} fresh"
    return f"not built: {what}, {failed} failed" if failed else f"built: {what}"
