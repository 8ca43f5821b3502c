"""Views against a brute-force reading of the same rows."""

import sys
from pathlib import Path

import numpy as np
import pytest

sys.path.insert(0, str(Path(__file__).parent))
import tiny_stack as tiny

from tunekit.engine.rows import Tokens, view_of
from tunekit.errors import ActionError

pytestmark = pytest.mark.torch
ROWS = [*tiny.random_rows(600, 3), ([9], [True]), (list(range(3, 60)), [False] * 50 + [True] * 7)]


@pytest.fixture(scope="module")
def tokens(tmp_path_factory: pytest.TempPathFactory) -> Tokens:
    """Two parts, the first of more than one record batch."""
    return Tokens(tiny.make_tokens(tmp_path_factory.mktemp("rows") / "t", [ROWS[:550], ROWS[550:]]))


def test_whole_rows_in_order(tokens: Tokens) -> None:
    view = view_of(tokens, 0, 64, "error")
    kept = [row for row in ROWS if any(row[1][1:])]
    assert len(tokens.chunks) == 3 and len(view.spans) == len(kept)
    for span, (ids, labelled) in zip(view.spans.tolist(), kept, strict=True):
        found, labels = tokens.sequence(*span)
        assert found.tolist() == ids and found.dtype == labels.dtype == np.int64
        assert labels.tolist() == [i if flag else -100 for i, flag in zip(ids, labelled, strict=True)]
    assert view.ledger == {
        "rows": 602,
        "not_selected": 0,
        "split": 0,
        "truncated": 0,
        "dropped": 0,
        "unlabelled": 1,
        "sequences": 601,
        "tokens": sum(len(ids) for ids, _ in kept),
        "labelled_tokens": sum(sum(flags[1:]) for _, flags in kept),
    }


def test_too_long_names_the_row(tokens: Tokens) -> None:
    with pytest.raises(ActionError, match=r"1 of 602 rows of data .* first is row 601, the longest has 57") as found:
        view_of(tokens, 0, 40, "error")
    assert found.value.slug == "row-too-long" and "split" in found.value.hint


LONG = [n for n, (ids, _) in enumerate(ROWS) if len(ids) > 10][:20]


def test_split_counts_every_label_once(tokens: Tokens) -> None:
    whole, split = view_of(tokens, 0, 64, "error"), view_of(tokens, 0, 9, "split")
    assert split.ledger["labelled_tokens"] == whole.ledger["labelled_tokens"]
    assert split.ledger["split"] == sum(len(ids) > 9 for ids, _ in ROWS)
    assert (split.spans[:, 2] - split.spans[:, 1]).max() == 9
    predicted = [x for span in split.spans.tolist() for x in tokens.sequence(*span)[1][1:] if x != -100]
    assert predicted == [x for ids, flags in ROWS for x, f in zip(ids[1:], flags[1:], strict=True) if f]


def test_truncate_and_drop(tokens: Tokens) -> None:
    long = sum(len(ids) > 10 for ids, _ in ROWS)
    cut, dropped = view_of(tokens, 0, 10, "truncate"), view_of(tokens, 0, 10, "drop")
    assert cut.ledger["truncated"] == dropped.ledger["dropped"] == long
    assert cut.ledger["long_rows"] == dropped.ledger["long_rows"] == LONG
    # The last row's labels are all behind the cut; the row of one token has nothing to predict.
    assert cut.ledger["unlabelled"] == 2 and dropped.ledger["unlabelled"] == 1
    assert dropped.ledger["sequences"] == len(ROWS) - long - 1
    assert (cut.spans[:, 2] - cut.spans[:, 1]).max() == 10


@pytest.mark.parametrize(("weight", "first"), [(0.5, [1, 3, 5, 7]), (0.3, [3, 6, 9, 13]), (0.1, [9, 19, 29, 39])])
def test_weight_is_an_even_stride(tokens: Tokens, weight: float, first: list[int]) -> None:
    view = view_of(tokens, 0, 64, "error", weight=weight, limit=500)
    assert len(view.spans) == 500 * weight and view.ledger["not_selected"] == 602 - 500 * weight
    assert "repeated" not in view.ledger
    every = view_of(tokens, 0, 64, "error").spans
    np.testing.assert_array_equal(view.spans[:4], every[first])


@pytest.mark.parametrize(
    ("weight", "first"), [(2, [0, 0, 1, 1]), (1.5, [0, 1, 1, 2, 3, 3]), (3.25, [0, 0, 0, 1, 1, 1])]
)
def test_weight_above_one_repeats_rows(tokens: Tokens, weight: float, first: list[int]) -> None:
    view = view_of(tokens, 0, 64, "error", weight=weight, limit=500)
    assert len(view.spans) == 500 * weight and view.ledger["repeated"] == 500 * (weight - 1)
    assert view.ledger["not_selected"] == 102
    np.testing.assert_array_equal(view.spans[: len(first)], view_of(tokens, 0, 64, "error").spans[first])
