"""Which methods hold rows out of `data` by themselves: those that cannot say so when they are declared."""

from __future__ import annotations

import pytest

ROWS = """
[dataset.b]
source = "path:a.jsonl"
format = "{form}"
[run.y]
method = "{method}"
model = "model:m"
data = ["dataset:b"]
val = 0.1
"""
FORMS = {"sft": "completion", "orpo": "preference", "reward": "preference", "prm": "stepwise"}
WITH_REFERENCE = {"dpo": "preference", "ipo": "preference", "kto": "unpaired"}


@pytest.mark.parametrize("method", FORMS | WITH_REFERENCE)
def test_val(project, method: str) -> None:
    """What a reference says is of given rows: its action does not know the two sides."""
    project.one_run(ROWS.format(method=method, form=(FORMS | WITH_REFERENCE)[method]))
    found = [(p.slug, p.key) for p in project.problems()]
    assert found == ([("bad-value", "val")] if method in WITH_REFERENCE else [])
