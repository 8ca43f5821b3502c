"""Curves as inline SVG: no script, no font, no colour of its own (the page's style sheet has those, by class)."""

from __future__ import annotations

import math
from typing import NamedTuple

from tunekit.report.figures import number
from tunekit.report.look.page import text

WIDTH, HEIGHT = 640, 260  # of the drawing, in its own units
_LEFT, _RIGHT, _TOP, _BOTTOM = 64, 12, 12, 28
COLOURS = 8
_MOST = 800  # points of a curve that are drawn


class Curve(NamedTuple):
    """`points`: (x, y), x ascending; `colour`: a number, so that a run has one colour in all charts."""

    name: str
    points: list[tuple[float, float]]
    colour: int = 0


def chart(title: str, curves: list[Curve]) -> str:
    """A figure with axes, one line a curve, and a legend. Values that are no numbers leave a gap."""
    finite = [(x, y) for c in curves for x, y in c.points if math.isfinite(x) and math.isfinite(y)]
    if not finite:
        return ""
    xs, ys = _span([x for x, _ in finite]), _span([y for _, y in finite])
    lines = [_axis_y(tick, _at_y(tick, ys)) for tick in ticks(*ys)]
    lines += [_axis_x(tick, _at_x(tick, xs)) for tick in ticks(*xs) if tick == int(tick) or xs[1] - xs[0] < 2]
    lines += [_path(curve, xs, ys) for curve in curves]
    legend = "".join(_named(c) for c in curves)
    return (
        f'<figure><figcaption>{text(title)}</figcaption><svg viewBox="0 0 {WIDTH} {HEIGHT}" role="img" '
        f'aria-label="{text(title)}">{"".join(lines)}</svg><p class="legend">{legend}</p></figure>'
    )


def ticks(low: float, high: float) -> list[float]:
    """Some five round numbers between two others."""
    if not low < high:
        return [low]
    rough = (high - low) / 5
    power = 10.0 ** math.floor(math.log10(rough))
    step = next((m * power for m in (1, 2, 5, 10) if m * power >= rough), power)
    first = math.ceil(low / step)
    return [round(i * step, 12) for i in range(first, math.floor(high / step + 1e-9) + 1)]


def thinned(points: list[tuple[float, float]], most: int = _MOST) -> list[tuple[float, float]]:
    """At most about `most` points: of each stretch the lowest and the highest, so that no spike is lost."""
    if len(points) <= most:
        return points
    out: list[tuple[float, float]] = []
    size = -(-len(points) * 2 // most)
    for start in range(0, len(points), size):
        some = points[start : start + size]
        out += sorted({min(some, key=lambda p: p[1]), max(some, key=lambda p: p[1])})
    return out


def _span(values: list[float]) -> tuple[float, float]:
    low, high = min(values), max(values)
    if low == high:
        room = abs(low) * 0.1 or 1.0
        return low - room, high + room
    return low, high


def _at_x(x: float, span: tuple[float, float]) -> float:
    return _LEFT + (x - span[0]) / (span[1] - span[0]) * (WIDTH - _LEFT - _RIGHT)


def _at_y(y: float, span: tuple[float, float]) -> float:
    return HEIGHT - _BOTTOM - (y - span[0]) / (span[1] - span[0]) * (HEIGHT - _TOP - _BOTTOM)


def _axis_y(tick: float, y: float) -> str:
    return (
        f'<line class="grid" x1="{_LEFT}" x2="{WIDTH - _RIGHT}" y1="{y:.1f}" y2="{y:.1f}"/>'
        f'<text x="{_LEFT - 6}" y="{y + 4:.1f}" text-anchor="end">{number(float(tick))}</text>'
    )


def _axis_x(tick: float, x: float) -> str:
    return f'<text x="{x:.1f}" y="{HEIGHT - 8}" text-anchor="middle">{tick:g}</text>'


def _path(curve: Curve, xs: tuple[float, float], ys: tuple[float, float]) -> str:
    """Pieces of a line; a piece of one point is a dot."""
    pieces: list[list[tuple[float, float]]] = [[]]
    for x, y in curve.points:
        if math.isfinite(x) and math.isfinite(y):
            pieces[-1].append((x, y))
        elif pieces[-1]:
            pieces.append([])
    css = f"c{curve.colour % COLOURS}"
    out = []
    for piece in filter(None, pieces):
        spots = [f"{_at_x(x, xs):.1f},{_at_y(y, ys):.1f}" for x, y in thinned(piece)]
        if len(spots) == 1:
            across, down = spots[0].split(",")
            out.append(f'<circle class="{css}" cx="{across}" cy="{down}" r="3"/>')
        else:
            out.append(f'<polyline class="{css}" points="{" ".join(spots)}"/>')
    return "".join(out)


def _named(curve: Curve) -> str:
    last = next((y for _, y in reversed(curve.points) if math.isfinite(y)), None)
    ended = f" {number(float(last))}" if last is not None else ""
    return f'<span class="k{curve.colour % COLOURS}">{text(curve.name)}</span>{text(ended)} '
