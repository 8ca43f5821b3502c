"""Which rows `val` holds out: by content, whatever stands beside them."""

import sys
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

sys.path.insert(0, str(Path(__file__).parent))
import tiny_stack as tiny

from tunekit.engine.heldout import Side
from tunekit.engine.patience import stalled
from tunekit.engine.rows import Tokens, rows_of, view_of

pytestmark = pytest.mark.torch
Row = tuple[list[int], list[bool]]
TEXTS = st.lists(st.lists(st.integers(3, 60), min_size=2, max_size=6), min_size=1, max_size=30)


def sides(root: Path, *parts: list[Row], share: float = 0.3) -> list[bool]:
    """Of every row, whether it is held out."""
    tokens = Tokens(tiny.make_tokens(root, list(parts)))
    rows = rows_of(tokens, 0)
    held, kept = (Side(share, evaluated).of(tokens, [rows]).tolist() for evaluated in (True, False))
    assert [not x for x in held] == kept
    return held


def row(ids: list[int]) -> Row:
    return ids, [True] * len(ids)


@given(texts=TEXTS, more=TEXTS)
@settings(max_examples=20, deadline=None, suppress_health_check=list(HealthCheck))
def test_rows_that_are_added_move_no_other(
    tmp_path_factory: pytest.TempPathFactory, texts: list[list[int]], more: list[list[int]]
) -> None:
    root = tmp_path_factory.mktemp("rows")
    before = sides(root / "a", [row(t) for t in texts])
    after = sides(root / "b", [row(t) for t in more], [row(t) for t in texts])
    assert after[len(more) :] == before
    by_text: dict[tuple[int, ...], set[bool]] = {}
    for text, side in zip(more + texts, after, strict=True):
        by_text.setdefault(tuple(text), set()).add(side)
    assert all(len(found) == 1 for found in by_text.values()), "equal rows are on one side"


def test_the_share_is_about_what_was_asked_for(tmp_path: Path) -> None:
    rows = [row([3 + i % 50, 3 + i // 50, 7]) for i in range(2000)]
    assert 520 < sum(sides(tmp_path, rows)) < 680
    assert 40 < sum(sides(tmp_path / "b", rows, share=0.03)) < 85


def test_every_row_is_in_the_ledger(tmp_path: Path) -> None:
    tokens = Tokens(tiny.make_tokens(tmp_path, [tiny.random_rows(40)]))
    trained = view_of(tokens, 0, 64, "error", limit=30, weight=2.0, side=Side(0.3, evaluated=False)).ledger
    held = view_of(tokens, 0, 64, "error", limit=30, side=Side(0.3, evaluated=True)).ledger
    assert trained["rows"] == held["rows"] == 40 and trained["not_selected"] == held["not_selected"] == 10
    assert trained["held_out"] + held["trained_on"] == 30
    assert trained["repeated"] == trained["sequences"] / 2 == 30 - trained["held_out"]
    assert held["sequences"] == trained["held_out"] == 30 - held["trained_on"]


@pytest.mark.parametrize(
    ("losses", "since"),
    [
        ([], 0),
        ([3.0], 0),
        ([3.0, 2.0, 2.0], 1),
        ([3.0, 2.95, 2.91], 2),  # each by less than 0.1, measured against the best that counted
        ([3.0, 2.95, 2.89], 0),
        ([3.0, float("nan"), 4.0], 2),
        ([float("nan"), 3.0], 0),
    ],
)
def test_stalled(losses: list[float], since: int) -> None:
    assert stalled(losses, 0.1) == since
