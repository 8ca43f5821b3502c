"""How far a source is that is being locked: drawn in place on a terminal, else a line now and then."""

from __future__ import annotations

import shutil
import sys
import time
from collections.abc import Callable
from types import TracebackType
from typing import TextIO

from tunekit.report.figures import number, seconds, size
from tunekit.report.pace import Pace

_DRAWN, _PRINTED = 0.1, 10.0  # seconds between two of them
_CLEAR = "\r\x1b[K"


class Fetching:
    """Use as a context manager for each source; `take` is its `Progress`. Nothing is said of what took no time and no
    bytes."""

    def __init__(self, out: TextIO | None = None, now: Callable[[], float] = time.monotonic) -> None:
        self._out = sys.stderr if out is None else out
        self._now = now
        self._in_place = self._out.isatty()

    def __enter__(self) -> Callable[[int, int, str], None]:
        self._pace = Pace()
        self._began = self._said = self._now()
        self._first: float | None = None
        return self.take

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        if self._in_place and self._said != self._began:
            self._out.write(_CLEAR)
        came = self._pace.done - (self._first or 0)
        if kind is None and came > 0:
            took = self._now() - self._began
            amount = size(int(came)) if self._pace.unit == "bytes" else f"{number(came)} {self._pace.unit}"
            rate = f", {size(int(came / took))}/s" if self._pace.unit == "bytes" and took > 0 else ""
            self._out.write(f"  {amount} in {seconds(took)}{rate}\n")
        self._out.flush()

    def take(self, done: int, total: int, unit: str) -> None:
        now = self._now()
        if self._first is None or unit != self._pace.unit:
            self._first = done  # what was there already
        self._pace.at(done, total, unit, now)
        if now - self._said < (_DRAWN if self._in_place else _PRINTED):
            return
        self._said = now
        text = f"  {self._pace}"
        if self._in_place:
            self._out.write(_CLEAR + text[: shutil.get_terminal_size().columns - 1])
        else:
            self._out.write(text + "\n")
        self._out.flush()
