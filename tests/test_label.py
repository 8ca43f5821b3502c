"""Labels are the same everywhere, and nothing else is one."""

from __future__ import annotations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tunekit.label import NAME, Label, parse_label

names = st.from_regex(r"[a-z0-9][a-z0-9_-]{0,20}", fullmatch=True)
words = st.just("") | st.from_regex(r"[a-z][a-z0-9_-]{0,8}", fullmatch=True)


@settings(max_examples=60, deadline=None)
@given(st.sampled_from(["dataset", "run", "merge"]), names, words, words)
def test_round_trip(kind: str, name: str, output: str, step: str) -> None:
    label = Label(kind, name, output, step)
    assert parse_label(str(label)) == label
    assert label.target == f"{kind}:{name}"


@settings(max_examples=100, deadline=None)
@given(st.text(max_size=20))
def test_what_parses_prints_as_it_was(text: str) -> None:
    label = parse_label(text)
    assert label is None or str(label) == text


@pytest.mark.parametrize(
    "bad",
    ["", "run", "run:", ":x", "run:X", "run:-x", "Run:x", "run:x@", "run:x#", "run:x#a@b", "run:x\n", "run:../x",
     "run:x/y", "rewards.py:accuracy", "pypi:a@1.0#b", "run:" + "x" * 65, "run:x ", "run:é", "run:x.", "run:x.-1"],
)  # fmt: skip
def test_what_is_no_label(bad: str) -> None:
    assert parse_label(bad) is None


def test_points_of_a_matrix() -> None:
    label = parse_label("run:x.lr-1e-4.seed-2@best")
    assert label is not None
    assert (label.name, label.output) == ("x.lr-1e-4.seed-2", "best")


@pytest.mark.parametrize(
    ("name", "ok"), [("a", True), ("0-_", True), ("a" * 64, True), ("a" * 65, False), ("a.b", False), ("a\n", False)]
)
def test_names(name: str, ok: bool) -> None:
    assert bool(NAME.match(name)) is ok
