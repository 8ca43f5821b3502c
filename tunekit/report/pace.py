"""How far something is, and when it will be done."""

from __future__ import annotations

import time
from collections import deque

from tunekit.report.figures import seconds, size

_WINDOW = 30  # points that the speed is measured over: recent ones, so that a slow start is forgotten


class Pace:
    """`12/100 step  3.4/s  26s left`; bytes as sizes."""

    def __init__(self) -> None:
        self.done = 0.0
        self.total = 0.0
        self.unit = ""
        self._points: deque[tuple[float, float]] = deque(maxlen=_WINDOW)

    def at(self, done: float, total: float, unit: str, now: float | None = None) -> None:
        """One point. Going backwards, or another unit, starts the measurement again."""
        if done < self.done or unit != self.unit:
            self._points.clear()
        self.done, self.total, self.unit = done, total, unit
        self._points.append((time.monotonic() if now is None else now, done))

    @property
    def speed(self) -> float:
        """Units a second; 0 while it cannot be known."""
        points = list(self._points)
        if len(points) < 2:
            return 0.0
        (t0, d0), (t1, d1) = points[0], points[-1]
        return (d1 - d0) / (t1 - t0) if t1 > t0 else 0.0

    @property
    def left(self) -> float | None:
        speed = self.speed
        return (self.total - self.done) / speed if speed > 0 else None

    def __str__(self) -> str:
        is_bytes = self.unit == "bytes"
        out = (
            f"{size(int(self.done))} of {size(int(self.total))}"
            if is_bytes
            else f"{self.done:g}/{self.total:g} {self.unit}"
        )
        left = self.left
        if left is None:
            return out
        speed = size(int(self.speed)) if is_bytes else f"{self.speed:.3g}"
        return f"{out}  {speed}/s  {seconds(left)} left"
