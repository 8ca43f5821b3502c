"""Times as people read them."""

from __future__ import annotations

import time

_UNITS = ((86400.0, "day"), (3600.0, "hour"), (60.0, "minute"))


def ago(then: float, now: float | None = None) -> str:
    """`3 hours ago`."""
    gone = max((time.time() if now is None else now) - then, 0.0)
    for length, unit in _UNITS:
        if gone >= length:
            count = int(gone // length)
            return f"{count} {unit}{'s' * (count != 1)} ago"
    return "just now"


def stamp(then: float) -> str:
    """`2026-11-24 05:33:18 UTC`."""
    return time.strftime("%Y-%m-%d %H:%M:%S UTC", time.gmtime(then))


_SPANS = {"s": 1.0, "m": 60.0, "h": 3600.0, "d": 86400.0, "w": 604800.0}


def span(text: str) -> float | None:
    """Seconds in `90s`, `30m`, `24h`, `7d`, `2w` or `0`; None if it is none of them."""
    if text == "0":
        return 0.0
    number, unit = text[:-1], text[-1:]
    return float(number) * _SPANS[unit] if unit in _SPANS and number.isascii() and number.isdigit() else None
