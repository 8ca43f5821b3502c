"""Of which run a longer one may go on."""

from typing import Any

import pytest

from tunekit.build.extension import is_shorter

BASE: dict[str, Any] = {
    "kind": "run.sft",
    "version": 2,
    "inputs": {"tokens": ["sha256:1"]},
    "code": {},
    "packages": {},
    "fields": {"learning_rate": 1e-4, "max_steps": 4},
}


def with_fields(**fields: Any) -> dict[str, Any]:
    return {**BASE, "fields": {k: v for k, v in ({**BASE["fields"], **fields}).items() if v is not None}}


@pytest.mark.parametrize(
    ("old", "new", "is_one"),
    [
        (BASE, with_fields(max_steps=8), True),
        (BASE, with_fields(max_steps=2), False),
        (BASE, BASE, False),
        (BASE, with_fields(max_steps=8, learning_rate=2e-4), False),
        (BASE, with_fields(max_steps=8, epochs=2.0), False),
        (with_fields(max_steps=None), with_fields(max_steps=None, epochs=2.0), True),
        (with_fields(max_steps=None, epochs=3.0), with_fields(max_steps=None), False),
        (with_fields(max_steps=None), with_fields(max_steps=8), False),  # only the data could tell
        (BASE, {**with_fields(max_steps=8), "inputs": {"tokens": ["sha256:2"]}}, False),
        (BASE, {**with_fields(max_steps=8), "version": 3}, False),
    ],
)
def test_shorter(old: dict[str, Any], new: dict[str, Any], is_one: bool) -> None:
    assert is_shorter(old, new) is is_one
