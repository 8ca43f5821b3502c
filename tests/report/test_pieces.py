"""Small things that reports are made of."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tunekit.report import drawing
from tunekit.report.clock import ago, span
from tunekit.report.metrics import curves, series
from tunekit.report.settings import block, flat, text
from tunekit.report.sparkline import sparkline


@given(st.lists(st.floats(-1e9, 1e9), min_size=1, max_size=200), st.integers(1, 60))
def test_sparkline_is_as_wide_as_asked(values: list[float], width: int):
    line = sparkline(values, width)
    assert len(line) == min(width, len(values)) and set(line) <= set("▁▂▃▄▅▆▇█")


def test_sparkline_shows_the_shape():
    assert sparkline([3, 2, 1, 0], 4) == "█▆▃▁"
    assert sparkline([1, 1], 4) == "▁▁" and sparkline([]) == ""


@pytest.mark.parametrize(
    ("gone", "told"),
    [(0, "just now"), (59, "just now"), (60, "1 minute ago"), (7200, "2 hours ago"), (9e5, "10 days ago")],
)
def test_ago(gone: float, told: str):
    assert ago(1000.0, 1000.0 + gone) == told


@pytest.mark.parametrize(
    ("word", "value"), [("0", 0), ("90s", 90), ("24h", 86400), ("7d", 604800), ("x", None), ("", None)]
)
def test_span(word: str, value: float | None):
    assert span(word) == value


def test_settings_are_flat():
    assert list(flat({"a": {"b": 1, "c": {}}, "d": [1]})) == [("a.b", 1), ("a.c", {}), ("d", [1])]
    assert text(1e-4) == "0.0001" and text("x" * 200).endswith("…") and len(text("x" * 200)) == 100
    assert block("t", []) == [] and block("t", [("a", "1"), ("long", "")]) == ["t", "  a     1", "  long"]


def test_series_takes_numbers_only():
    points = [{"step": 1, "loss": 2.0, "name": "x", "ok": True}, {"step": 2, "loss": 1.0}]
    assert series(points) == {"loss": [2.0, 1.0]}
    assert curves(points) == [("loss", "2 █▁ 1")]


ARROWS = {"a#f": [], "a": ["a#f"], "b": ["a"], "c": ["a", "b"], "lone": []}


def test_a_tree_names_a_branch_once():
    assert drawing.tree(ARROWS) == ["c", "├─ a", "│  └─ a#f", "└─ b", "   └─ a …", "lone"]


def test_hidden_steps_are_passed_over():
    assert drawing.without({"x": [], "x#s": ["x"], "y": ["x#s", "x"]}, {"x#s"}) == {"x": [], "y": ["x"]}


def test_a_long_chain_is_drawn():
    chain = {str(i): [str(i - 1)] if i else [] for i in range(3000)}
    assert len(drawing.tree(chain)) == 3000
