"""Which attempt is the result of a key, in a store and for a lock."""

from __future__ import annotations

import pytest

from tunekit.hashing import sha256_bytes
from tunekit.lockfile import Lock, ResultBlock
from tunekit.plan.results import Results
from tunekit.store import records
from tunekit.store.store import Store

KEY, ONE, TWO = (sha256_bytes(text) for text in (b"key", b"one", b"two"))


def record(attempt: str, main: str) -> dict:
    return {"key": KEY, "attempt": attempt, "label": "run:x", "preimage": {}, "outputs": {"main": main},
            "effective": {"summary": {"loss": 1.0}}}  # fmt: skip


def lock(*blocks: ResultBlock) -> Lock:
    return Lock({}, {}, list(blocks), {})


@pytest.fixture
def store(tmp_path):
    """With two attempts of the key: `a` made one, then `b` two, then `c` one again."""
    found = Store(tmp_path / "store").ensure()
    for attempt, main in (("a", ONE), ("b", TWO), ("c", ONE)):
        records.add(found, record(attempt, main))
    return found


def promoted(attempt: str, main: str) -> ResultBlock:
    return ResultBlock("run:x", KEY, attempt, {"main": main}, {"loss": 0.5})


@pytest.mark.parametrize(
    ("blocks", "attempt"),
    [
        ([], "a"),
        ([promoted("b", TWO)], "b"),
        ([promoted("c", ONE)], "c"),
        ([promoted("of-another-machine", TWO)], "b"),  # equal bytes are the result
        ([promoted("of-another-machine", ONE)], "a"),
        ([promoted("b", ONE)], "a"),  # an attempt of that name with other bytes is not
        ([promoted("b", KEY)], None),
    ],
)
def test_the_record_that_counts(store, blocks, attempt):
    found = Results(store, lock(*blocks)).record(KEY)
    assert (found and found["attempt"]) == attempt


def test_what_a_lock_promotes_is_in_the_stamp(store):
    stamps = [Results(store, lock(*b)).stamp for b in ([], [promoted("b", TWO)], [promoted("b", ONE)])]
    assert stamps[0] == "" and len(set(stamps)) == 3
    twin = promoted("b", TWO)._replace(label="run:y")
    assert Results(store, lock(promoted("b", TWO), twin)).stamp == stamps[1], "labels are no identity"


def test_gates_are_held_against_what_the_lock_says_where_no_record_is(store):
    assert Results(store, lock()).measured(ONE) == {}
    assert Results(store, lock(promoted("b", TWO))).measured(KEY)["attempt"] == "b"
    assert Results(store, lock(promoted("b", KEY))).measured(KEY) == {"effective": {"summary": {"loss": 0.5}}}
