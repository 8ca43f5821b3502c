"""`tunekit show` tells what became of every row, with the rows that are named."""

from __future__ import annotations

import pytest

from tunekit.report.ledger import ledgers, rows_of

TOKENS = {"items": [{"data": "dataset:a", "rows": 3, "ledger": {"kept": 3, "straddling_tokens": [[2, 29]]}}]}
RUN = {
    "ledger": {"data": [{"dataset": "dataset:a", "rows": 9, "dropped": 1, "long_rows": [4]}], "eval_data": []},
    "items": [],
}


@pytest.mark.parametrize(
    ("effective", "want"),
    [
        ({"ledger": {"kept": 13, "dropped": 0}, "format": "chat"}, [("", {"kept": 13, "dropped": 0})]),
        (TOKENS, [("dataset:a", {"kept": 3, "straddling_tokens": [[2, 29]]})]),
        (RUN, [("dataset:a", {"rows": 9, "dropped": 1, "long_rows": [4]})]),
        ({"items": [1, {"a": 2}], "ledger": {}}, []),
        ({}, []),
    ],
)
def test_every_kind_of_record_says_whose_rows_they_are(effective, want):
    assert list(ledgers(effective)) == want


def test_what_is_nothing_is_not_shown_and_rows_are_named_up_to_ten():
    counts = {
        "kept": 12345,
        "dropped": 0,
        "dropped_rows": [],
        "reasons": {"empty": {"count": 11, "rows": [*range(11)]}},
    }
    assert rows_of(counts) == [
        ("kept", "12,345"),
        ("reasons.empty.count", "11"),
        ("reasons.empty.rows", "0, 1, 2, 3, 4, 5, 6, 7, 8, 9, …"),
    ]
