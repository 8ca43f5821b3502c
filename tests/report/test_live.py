"""The live view draws what the events say."""

from __future__ import annotations

import io
from typing import Any

import pytest
from rich.console import Console

from tunekit.report.live import LiveView
from tunekit.report.pace import Pace


def plan(*steps: tuple[str, list[str]]) -> dict[str, Any]:
    order = [{"label": label, "reasons": ["never built"], "needs": needs} for label, needs in steps]
    return {"type": "plan", "total": len(steps), "fresh": 1, "order": order}


def begin(label: str) -> dict[str, Any]:
    return {"type": "begin", "action": label, "reasons": ["never built"]}


@pytest.fixture
def console() -> Console:
    return Console(file=io.StringIO(), force_terminal=True, width=140, color_system=None, highlight=False)


def drawn(view: LiveView) -> str:
    with view.console.capture() as found:
        view.console.print(view._draw())
    return found.get()


def said(console: Console) -> str:
    assert isinstance(console.file, io.StringIO)
    return console.file.getvalue()


def test_what_runs_and_what_is_next(console: Console):
    view = LiveView(console)
    view.take(plan(("run:sft", []), ("merge:m", ["run:sft"])))
    view.take(begin("run:sft"))
    assert "run run:sft" in drawn(view) and "never built" in drawn(view)
    for done in (1, 2, 3):
        view.take(
            {
                "type": "progress",
                "action": "run:sft",
                "done": done,
                "total": 10,
                "unit": "step",
                "tokens_per_s": 9.5,
                "memory": 2_100_000_000,
                "grad_norm": 0.5,
                "v": 1,
                "seq": 4,
                "t": 1.5,
            }
        )
    figures = {"loss": 1.25, "grad_norm": 3.0, "padding_tokens": 9}
    view.take({"type": "metric", "action": "run:sft", "step": 3, "figures": figures})
    text = drawn(view)
    assert "3/10 step" in text and "left" in text and "loss 1.25" in text and "tokens_per_s 9.5" in text
    assert "grad_norm 3" in text and "memory 2.1 GB" in text and "padding" not in text and "seq" not in text
    assert "next  merge:m  after run:sft" in text and "0 of 2 done, 1 running" in text


def test_endings_and_warnings_scroll_above(console: Console):
    with LiveView(console) as view:
        view.take(plan(("run:sft", []), ("run:b", [])))
        view.take(begin("run:sft"))
        view.take({"type": "warning", "action": "run:sft", "slug": "odd", "message": "[red]not markup"})
        view.take(
            {"type": "gate", "action": "run:sft", "name": "loss", "passed": False, "measured": 9, "wanted": "< 3"}
        )
        view.take({"type": "gate", "action": "run:sft", "name": "fine", "passed": True, "measured": 9, "wanted": "> 3"})
        record = {"effective": {"summary": {"loss": 1.5}}}
        view.take({"type": "end", "action": "run:sft", "how": "built", "record": record})
        view.take(
            {"type": "failed", "action": "run:b", "slug": "oom", "message": "run:b: no memory", "hint": "smaller"}
        )
        view.take({"type": "start", "action": "run:b"})  # a type that is not drawn
        assert "1 of 2 done, 0 running, 1 failed" in drawn(view)
        view.take({"type": "summary", "executed": ["run:sft"], "fresh": 1, "failed": ["run:b"]})
    text = said(console)
    assert "warning[odd]  run:sft  [red]not markup" in text
    assert "gate  run:sft  loss: 9 (wanted < 3)" in text and "fine" not in text
    assert "done  run:sft" in text and "loss 1.5" in text
    assert "error[oom]: run:b: no memory" in text and "= help: smaller" in text
    assert "not built: 1 run, 1 fresh, 1 failed" in text


def test_a_long_plan_is_cut(console: Console):
    view = LiveView(console)
    view.take(plan(*[(f"dataset:d{i}", []) for i in range(50)]))
    assert "… and 44 more" in drawn(view)


def test_the_terminal_comes_back_when_a_build_breaks(console: Console):
    with pytest.raises(KeyboardInterrupt), LiveView(console):
        raise KeyboardInterrupt
    assert "\x1b[?25h" in said(console)  # the cursor


class TestPace:
    def test_speed_and_time_left(self):
        pace = Pace()
        assert str(pace) == "0/0 "
        for t, done in ((0.0, 0), (1.0, 5), (2.0, 10)):
            pace.at(done, 30, "step", t)
        assert (pace.speed, pace.left) == (5.0, 4.0)
        assert str(pace) == "10/30 step  5/s  4.0s left"

    def test_another_phase_starts_again(self):
        pace = Pace()
        pace.at(10, 10, "step", 0.0)
        pace.at(1, 4, "sequence", 1.0)
        assert pace.speed == 0.0 and pace.left is None
