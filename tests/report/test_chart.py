"""Curves as SVG: round axes, no lost spikes, nothing of a name that does anything."""

from __future__ import annotations

import math
import xml.etree.ElementTree as ET

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tunekit.report.page.chart import HEIGHT, WIDTH, Curve, chart, thinned, ticks

SVG = "{http://www.w3.org/2000/svg}"


def drawn(*curves: Curve, title: str = "loss") -> ET.Element:
    return ET.fromstring(chart(title, list(curves)))


def points_of(figure: ET.Element) -> list[list[tuple[float, float]]]:
    return [
        [tuple(map(float, spot.split(","))) for spot in line.get("points").split()] for line in figure.iter("polyline")
    ]


def test_a_falling_curve():
    figure = drawn(Curve("loss", [(1, 4.0), (2, 2.0), (3, 1.0)]))
    ((a, b, c),) = points_of(figure)
    assert a[0] < b[0] < c[0] and a[1] < b[1] < c[1]  # down is larger
    assert c[1] - b[1] == pytest.approx((b[1] - a[1]) / 2, abs=0.11)
    assert [t.text for t in figure.iter("text") if t.get("text-anchor") == "middle"] == ["1", "2", "3"]
    assert "".join(figure.find("p").itertext()).strip() == "loss 1"


def test_gaps_and_dots():
    figure = drawn(Curve("a", [(1, 1.0), (2, math.nan), (3, 2.0), (4, 3.0)], 3))
    assert len(list(figure.iter("circle"))) == 1 and len(points_of(figure)) == 1
    assert next(figure.iter("polyline")).get("class") == "c3"
    assert chart("a", [Curve("a", [(1, math.inf)])]) == ""


def test_names_are_escaped():
    figure = drawn(Curve('</svg><script>x</script>"', [(1, 1.0), (2, 2.0)]), title='"><img onerror=x>')
    assert figure.find("svg").get("aria-label") == '"><img onerror=x>'
    assert not list(figure.iter("script")) and not list(figure.iter("img"))


numbers = st.floats(-1e9, 1e9, allow_nan=False)


@given(numbers, numbers)
def test_ticks_are_few_round_and_inside(a, b):
    low, high = sorted((a, b))
    if high - low < 1e-6 * max(abs(low), abs(high), 1e-6):
        return
    found = ticks(low, high)
    room = (high - low) * 1e-6
    assert 2 <= len(found) <= 7 and all(low - room <= t <= high + room for t in found)


@given(st.lists(numbers, min_size=1, max_size=3000))
def test_what_is_left_out_is_between(values):
    points = list(enumerate(map(float, values)))
    kept = thinned(points, 100)
    assert len(kept) <= max(100, 0) + 2 and set(kept) <= set(points)
    assert min(y for _, y in kept) == min(values) and max(y for _, y in kept) == max(values)
    assert [x for x, _ in kept] == sorted(x for x, _ in kept)


@given(st.lists(st.tuples(st.integers(0, 10**6), numbers), min_size=1, max_size=50, unique_by=lambda p: p[0]))
def test_everything_is_inside(points):
    for line in points_of(drawn(Curve("x", sorted((float(x), y) for x, y in points)))):
        assert all(0 <= x <= WIDTH and 0 <= y <= HEIGHT for x, y in line)
