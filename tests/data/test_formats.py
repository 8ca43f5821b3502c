"""Row shapes: what passes, and the reason for what does not."""

from __future__ import annotations

import pytest

from tunekit.data.formats import fault_of

USER = {"role": "user", "content": "hi"}


@pytest.mark.parametrize(
    ("shape", "row"),
    [
        ("chat", {"messages": [USER, {"role": "assistant", "content": ""}], "id": 3}),
        ("completion", {"text": "x", "file": "y"}),
        ("prompt", {"prompt": "x", "answer": 4}),
        ("prompt", {"prompt": [USER]}),
        ("rows", {"anything": 1}),
    ],
)
def test_good_rows_pass(shape, row):
    assert fault_of(shape, row) is None


@pytest.mark.parametrize(
    ("shape", "row", "reason"),
    [
        ("chat", {"text": "x"}, "has no `messages` (columns: text)"),
        ("chat", {"messages": "x"}, "`messages` is 'x', not a list"),
        ("chat", {"messages": []}, "`messages` is an empty list"),
        ("chat", {"messages": ["x"]}, "turn 0 is 'x', not a table"),
        ("chat", {"messages": [USER, {"role": "bot", "content": ""}]}, "turn 1 has role 'bot'"),
        ("chat", {"messages": [USER, {"role": "assistant", "content": None}]}, "turn 1 has content None"),
        ("completion", {}, "has no `text` (columns: none)"),
        ("completion", {"text": ""}, "`text` is '', not a non-empty string"),
        ("completion", {"text": 3}, "`text` is 3"),
        ("prompt", {"question": "x"}, "has no `prompt`"),
        ("prompt", {"prompt": ""}, "`prompt` is ''"),
        ("prompt", {"prompt": [{"role": "user"}]}, "`prompt` turn 0 has content None"),
    ],
)
def test_bad_rows_say_why_and_the_way_out(shape, row, reason):
    fault = fault_of(shape, row)
    assert fault is not None and reason in fault.reason and "`map`" in fault.hint
