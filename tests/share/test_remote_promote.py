"""A promoted result and a remote: what the lock chooses is what leaves, what arrives and what counts."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

MAKE = 'import os\ndef rows(seed):\n    yield {"x": os.urandom(8).hex()}\n'  # other bytes each time
DECLARED = """
[project]
name = "shared"
default = ["dataset:up"]

[remote]
url = "{url}"

[dataset.rows]
source = "make:make.py:rows"
[dataset.up]
from = ["dataset:rows"]
limit = 1
"""


def machine(machines, name: str, lock: Path | None = None):
    project = machines.make(name, declared=DECLARED)
    project.write("make.py", MAKE)
    if lock is not None:
        shutil.copy(lock, project.root / "tunekit.lock")
    return project


def promoted(machines):
    """A machine with two attempts of `dataset:rows`, of which the second is promoted, and `up` made from that."""
    mine = machine(machines, "mine")
    assert mine.build("--offline").code == 0
    assert mine.build("--offline", "--force", "dataset:rows").code == 0
    assert mine.run("promote", "dataset:rows", "--attempt", "2").code == 0
    assert mine.build("--offline").ran == ["dataset:up"]
    return mine


def attempt(project, label: str = "dataset:rows") -> str:
    (body,) = project.run("show", label, "--json").events
    return body["record"]["attempt"]


def test_the_promoted_attempt_is_pushed_and_reproduces_a_clone(machines):
    mine = promoted(machines)
    assert mine.run("push").code == 0
    sent = [json.loads(p.read_bytes()) for p in (machines.remote / "ac").iterdir()]
    assert {r["label"]: r["attempt"] for r in sent}["dataset:rows"] == attempt(mine)
    yours = machine(machines, "yours", mine.root / "tunekit.lock")
    assert yours.build("dataset:rows", "dataset:up").ran == []
    assert yours.run("verify", "--results").code == 0
    assert attempt(yours) == attempt(mine)


def test_it_comes_beside_an_attempt_that_was_here_before(machines):
    mine = promoted(machines)
    assert mine.run("push").code == 0
    yours = machine(machines, "yours")
    assert yours.build("--offline").code == 0
    shutil.copy(mine.root / "tunekit.lock", yours.root / "tunekit.lock")
    (body,) = yours.run("pull", "--all", "--json").events
    assert body["missing"] == {} and body["conflicts"] == {} and "dataset:rows" in body["fetched"]
    assert yours.run("verify", "--results").code == 0 and attempt(yours) == attempt(mine)
    assert yours.run("gc", "--yes", "--grace", "0").code == 0
    assert yours.build("--offline", "dataset:rows", "dataset:up").ran == []


def pushed_first(machines):
    """The first attempt was pushed; then the second was made and promoted."""
    mine = machine(machines, "mine")
    assert mine.build("--offline").code == 0
    assert mine.run("push").code == 0
    assert mine.build("--offline", "--force", "dataset:rows").code == 0
    assert mine.run("promote", "dataset:rows", "--attempt", "2").code == 0
    assert mine.build("--offline").ran == ["dataset:up"]
    return mine


def test_an_attempt_that_is_promoted_after_another_was_pushed_can_be_fetched(machines):
    mine = pushed_first(machines)
    before = {p.name: p.read_bytes() for p in (machines.remote / "ac").iterdir()}
    (body,) = mine.run("push", "--json").events
    assert sorted(body["entries"]) == ["dataset:rows", "dataset:up"] and body["skipped"] == []
    after = {p.name: p.read_bytes() for p in (machines.remote / "ac").iterdir()}
    assert before.items() <= after.items()  # whoever promotes nothing finds what was there
    assert [name for name in after if name.endswith("." + attempt(mine))]
    (body,) = mine.run("push", "--json").events
    assert body["entries"] == [] and sorted(body["known"]) == ["dataset:rows", "dataset:up"] and body["skipped"] == []
    yours = machine(machines, "yours", mine.root / "tunekit.lock")
    assert yours.build("dataset:rows", "dataset:up").ran == []
    assert yours.run("verify", "--results").code == 0 and attempt(yours) == attempt(mine)
    (body,) = yours.run("pull", "--all", "--json").events
    assert body["missing"] == {} and body["conflicts"] == {}


def test_who_promotes_nothing_gets_what_was_pushed_first(machines):
    mine = pushed_first(machines)
    sent = [json.loads(p.read_bytes()) for p in (machines.remote / "ac").iterdir()]
    first = {r["label"]: r["attempt"] for r in sent}["dataset:rows"]
    assert mine.run("push").code == 0
    yours = machine(machines, "yours")
    assert yours.build("dataset:rows").ran == []
    assert attempt(yours) == first != attempt(mine)


def test_two_locks_promote_two_attempts_through_one_remote(machines):
    """Three attempts of one key: the first pushed, and each of the others what one lock promotes."""
    mine = pushed_first(machines)
    assert mine.run("push").code == 0
    other = machine(machines, "other")
    assert other.build("--offline").code == 0
    assert other.run("promote", "dataset:rows", "--attempt", "1").code == 0
    (body,) = other.run("push", "dataset:rows", "--json").events
    assert body["entries"] == ["dataset:rows"] and body["skipped"] == []
    for name, owner in (("a", mine), ("b", other)):
        clone = machine(machines, name, owner.root / "tunekit.lock")
        assert clone.build("dataset:rows").ran == [] and attempt(clone) == attempt(owner)


def test_an_attempts_entry_with_other_bytes_than_the_lock_says_is_no_hit(machines):
    mine = pushed_first(machines)
    assert mine.run("push").code == 0
    (beside,) = [p for p in (machines.remote / "ac").iterdir() if p.name.endswith("." + attempt(mine))]
    first = next(p for p in (machines.remote / "ac").iterdir() if p.name == beside.name.partition(".")[0])
    beside.chmod(0o644)
    beside.write_bytes(first.read_bytes())
    yours = machine(machines, "yours", mine.root / "tunekit.lock")
    done = yours.run("pull", "dataset:rows")
    assert done.code == 1 and "tunekit.lock promotes" in done.out


def test_pull_says_that_the_remote_has_another_attempt_than_the_promoted(machines):
    mine = machine(machines, "mine")
    assert mine.build("--offline").code == 0
    first = attempt(mine)
    assert mine.run("push").code == 0
    assert mine.build("--offline", "--force", "dataset:rows").code == 0
    assert mine.run("promote", "dataset:rows", "--attempt", "2").code == 0
    yours = machine(machines, "yours", mine.root / "tunekit.lock")
    done = yours.run("pull", "dataset:rows")
    assert done.code == 1
    assert f"the remote has attempt {first}; tunekit.lock promotes {attempt(mine)}" in done.out
