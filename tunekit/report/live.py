"""A build on a terminal: what runs and how far it is, drawn in place; what ended, warned or failed scrolls above."""

from __future__ import annotations

import time
from types import TracebackType
from typing import Any

from rich.console import Console, Group
from rich.live import Live
from rich.progress_bar import ProgressBar
from rich.table import Table
from rich.text import Text

from tunekit.build.finish import early
from tunekit.report.chunks import chunks
from tunekit.report.figures import figure, figures, seconds
from tunekit.report.lines import outcome
from tunekit.report.pace import Pace

_MOST_WAITING = 6
_NOT_SHOWN = ("v", "seq", "t", "done", "total")  # numbers of a progress event that are no figures
_AT_ONCE = ("loss", "reward", "eval_loss")  # figures that need not wait for it


class _Row:
    """One action that runs."""

    def __init__(self, label: str, reasons: list[str]) -> None:
        self.label = label
        self.reasons = reasons
        self.began = time.monotonic()
        self.pace = Pace()
        self.note = ""
        self.figures: dict[str, float] = {}


class LiveView:
    """Takes the build's events. Use as a context manager: the terminal is given back however the build ends."""

    def __init__(self, console: Console | None = None) -> None:
        self.console = console or Console(highlight=False)
        self._running: dict[str, _Row] = {}
        self._waiting: dict[str, list[str]] = {}
        self._total = self._ended = self._failed = 0
        self._live = Live(
            get_renderable=self._draw,
            console=self.console,
            refresh_per_second=8,
            transient=True,
            redirect_stdout=False,
            redirect_stderr=False,
        )

    def __enter__(self) -> LiveView:
        self._live.start()
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        self._live.stop()

    def take(self, event: dict[str, Any]) -> None:
        """Account for one event, of the build or of a worker. Types that are not drawn are passed over."""
        match event["type"]:
            case "plan":
                self._plan(event)
            case "fetch":
                self._running[event["remote"]] = _Row(event["remote"], [f"fetching {len(event['actions'])}"])
            case "fetching" if event["remote"] in self._running:
                self._running[event["remote"]].pace.at(event["done"], event["total"], event["unit"])
            case "fetched":
                self._running.pop(event["remote"], None)
                self._say("fetched", event["action"], "", "green")
            case "begin":
                self._waiting.pop(event["action"], None)
                self._running[event["action"]] = _Row(event["action"], event["reasons"])
            case "waiting":
                self._say("wait", event["action"], "another build runs it", "yellow")
            case "progress" | "metric" | "part":
                self._move(event)
            case "warning":
                self._say(f"warning[{event['slug']}]", event["action"], event["message"], "yellow")
            case "gate" if not event["passed"]:
                told = f"{event['name']}: {event['measured']} (wanted {event['wanted']})"
                self._say("gate", event["action"], told, "red")
            case "end":
                self._end(event)
            case "failed":
                self._fail(event)
            case "summary":
                self._summary(event)

    # -- events --------------------------------------------------------------------------------

    def _plan(self, event: dict[str, Any]) -> None:
        self._running.clear()  # what was fetched first
        self._total = event["total"]
        self._waiting = {step["label"]: step["needs"] for step in event["order"]}

    def _move(self, event: dict[str, Any]) -> None:
        row = self._running.get(event["action"])
        if row is None:
            return
        if event["type"] == "metric":  # of what is shown, what is newer; which figures these are, progress says
            row.figures |= {k: v for k, v in event["figures"].items() if k in row.figures or k in _AT_ONCE}
        elif event["type"] == "progress":
            row.pace.at(event["done"], event["total"], event["unit"])
            numbers = {k: v for k, v in event.items() if isinstance(v, (int, float)) and not isinstance(v, bool)}
            row.figures |= {k: v for k, v in numbers.items() if k not in _NOT_SHOWN}

    def _end(self, event: dict[str, Any]) -> None:
        label = event["action"]
        row = self._running.pop(label, None)
        self._waiting.pop(label, None)
        self._ended += 1
        took = f"{seconds(time.monotonic() - row.began)}" if row else ""
        summary = event["record"].get("effective", {}).get("summary", {})
        how = "done" if event["how"] == "built" else event["how"]
        note = "".join(f"  {text}" for text in (early(event["record"]), chunks(event["record"])) if text)
        self._say(how, label, took + figures(summary) + note, "green")

    def _fail(self, event: dict[str, Any]) -> None:
        self._running.pop(event["action"], None)
        self._waiting.pop(event["action"], None)
        self._failed += 1
        self.console.print(Text.assemble((f"error[{event['slug']}]", "bold red"), f": {event['message']}"))
        if event["hint"]:
            self.console.print(Text(f"  = help: {event['hint']}"))

    def _summary(self, event: dict[str, Any]) -> None:
        self._total = 0  # nothing is left to draw
        self.console.print(Text(outcome(event), "bold red" if event["failed"] else "bold"))

    def _say(self, word: str, label: str, text: str, style: str) -> None:
        self.console.print(Text.assemble((f"{word:>8}", style), f"  {label}  ", (text, "dim")))

    # -- drawing -------------------------------------------------------------------------------

    def _draw(self) -> Group:
        """Called by rich's thread too: it works on copies, which dict and deque give in one step."""
        running = list(self._running.values())
        table = Table.grid(padding=(0, 1))
        for row in running:
            table.add_row(*self._cells(row))
        lines: list[Any] = [table] if running else []
        ready = list(self._waiting.items())
        for label, needs in ready[:_MOST_WAITING]:
            left = [n for n in needs if n in self._running or n in self._waiting]
            lines.append(Text(f"    next  {label}" + (f"  after {', '.join(left)}" if left else ""), "dim"))
        if len(ready) > _MOST_WAITING:
            lines.append(Text(f"          … and {len(ready) - _MOST_WAITING} more", "dim"))
        if self._total:
            failed = f", {self._failed} failed" if self._failed else ""
            lines.append(Text(f"{self._ended} of {self._total} done, {len(running)} running{failed}", "dim"))
        return Group(*lines)

    def _cells(self, row: _Row) -> list[Any]:
        took = seconds(time.monotonic() - row.began)
        if not row.pace.total:
            return [
                Text("     run", "cyan"),
                Text(row.label),
                Text(""),
                Text(f"{took}  {'; '.join(row.reasons)}", "dim"),
            ]
        bar = ProgressBar(total=row.pace.total, completed=row.pace.done, width=24)
        shown = "  ".join(figure(name, value) for name, value in list(row.figures.items()))
        return [Text("     run", "cyan"), Text(row.label), bar, Text(f"{row.pace}  {took}  {shown}".rstrip())]
