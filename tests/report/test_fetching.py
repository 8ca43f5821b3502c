from __future__ import annotations

import io

import pytest

from tunekit.report.fetching import Fetching


class Clock:
    def __init__(self) -> None:
        self.at = 0.0

    def __call__(self) -> float:
        return self.at


class Terminal(io.StringIO):
    def isatty(self) -> bool:
        return True


def fetch(out: io.StringIO, *, fails: bool = False, start: int = 0) -> str:
    """60 MB in 60 s, told twice a second."""
    clock = Clock()
    with Fetching(out, clock) as take:
        for i in range(121):
            clock.at = i / 2
            take(start + i * 500_000, start + 60_000_000, "bytes")
        if fails:
            raise ValueError
    return out.getvalue()


def test_lines_where_there_is_no_terminal():
    lines = fetch(io.StringIO()).splitlines()
    assert lines[0] == "  10.0 MB of 60.0 MB  1.0 MB/s  50s left"
    assert lines[-1] == "  60.0 MB in 60s, 1.0 MB/s"
    assert len(lines) == 7 and not any("\r" in line for line in lines)


def test_in_place_on_a_terminal(monkeypatch):
    monkeypatch.setenv("COLUMNS", "30")
    text = fetch(Terminal())
    assert text.count("\n") == 1 and text.endswith("\r\x1b[K  60.0 MB in 60s, 1.0 MB/s\n")
    drawn = text.split("\r\x1b[K")[1:-1]
    assert len(drawn) > 100 and max(map(len, drawn)) < 30


def test_what_was_there_already_does_not_count():
    assert fetch(io.StringIO(), start=40_000_000).endswith("60.0 MB in 60s, 1.0 MB/s\n")


def test_a_failure_leaves_a_clean_line():
    out = Terminal()
    with pytest.raises(ValueError):
        fetch(out, fails=True)
    assert out.getvalue().endswith("\r\x1b[K")


def test_nothing_came():
    out = io.StringIO()
    with Fetching(out, Clock()) as take:
        take(100, 100, "bytes")
    assert out.getvalue() == ""


def test_other_units():
    out, clock = io.StringIO(), Clock()
    with Fetching(out, clock) as take:
        take(0, 30, "objects")
        clock.at = 2.0
        take(30, 30, "objects")
    assert out.getvalue() == "  30 objects in 2.0s\n"
