"""Attempts of actions that are not reproducible, and `[[result]]` of the lock: which one counts, and for whom."""

from __future__ import annotations

import shutil

import pytest

from tunekit.lockfile import load_lock
from tunekit.plan.project import open_planner
from tunekit.store import artifacts, records
from tunekit.store.store import Store

TOML = """\
[dataset.a]
source = "path:a.jsonl"
map = "m.py:f"
[dataset.b]
from = ["dataset:a"]
map = "g.py:g"
"""
# What it gives is in a file that no key knows of: another text, other bytes.
CODE = "from pathlib import Path\ndef f(row): return {'x': Path({chance!r}).read_text()}\n"


@pytest.fixture
def chance(tmp_path):
    file = tmp_path / "chance"
    file.write_text("first")
    return file


def declare(project, chance):
    project.rows("a.jsonl", [{"x": 1}])
    project.write("m.py", CODE.replace("{chance!r}", repr(str(chance))))
    project.write("g.py", "def g(row): return {**row, 'y': 1}\n")
    project.manifest(TOML)
    return project


@pytest.fixture
def two(project, chance):
    """A project with two attempts of dataset:a: first, second."""
    declare(project, chance)
    assert project.build().code == 0
    chance.write_text("second")
    assert project.build("--force", "dataset:a").code == 0
    return project


def attempts(project, label="dataset:a"):
    return records.attempts(Store(project.store), project.plan()[label].key)


def text(project, label):
    """What stands in the result's only row."""
    outputs = project.plan(label)[label].outputs
    (entry,) = [e for e in artifacts.read_tree(Store(project.store), outputs["main"]) if e.path.endswith(".arrow")]
    body = Store(project.store).object(entry.digest).read_bytes()
    return [word for word in ("first", "second", "third") if word.encode() in body]


def lose(project, outputs):
    """The objects of an artifact, and what is known of parts: a part that another attempt made would be taken."""
    store = Store(project.store)
    shutil.rmtree(store.root / "parts")
    (store.root / "parts").mkdir()
    for entry in artifacts.read_tree(store, outputs["main"]):
        store.object(entry.digest).unlink(missing_ok=True)


def warnings(done):
    return [e["slug"] for e in done.events if e["type"] == "warning"]


def failures(done):
    return {e["action"]: e for e in done.events if e["type"] == "failed"}


def test_the_first_success_counts_until_another_is_promoted(two):
    first, second = attempts(two)
    assert text(two, "dataset:b") == ["first"]
    done = two.run("promote", "dataset:a", "--attempt", "2")
    assert done.code == 0 and second["attempt"] in done.out, done.err
    (block,) = load_lock(two.root / "tunekit.lock").results
    assert (block.label, block.attempt, block.outputs) == ("dataset:a", second["attempt"], second["outputs"])
    assert two.build().ran == ["dataset:b"], "what reads it follows"
    assert text(two, "dataset:b") == ["second"] and two.build().ran == []
    assert two.run("show", "dataset:a").out.count("the result") == 1
    assert two.run("promote", "dataset:a", "--attempt", second["attempt"][:-3]).out.startswith("tunekit.lock has it")
    assert two.run("promote", "dataset:a", "--drop").code == 0
    done = two.build()
    assert done.ran == [] and text(two, "dataset:b") == ["first"], "its earlier result is still there"
    assert two.run("promote", "dataset:a", "--drop").code == 2
    assert first["outputs"] != second["outputs"]


def test_two_projects_on_one_store_pick_different_attempts(make_project, chance):
    one, two = (declare(make_project(name), chance) for name in ("one", "two"))
    assert one.build().code == 0
    assert two.build().ran == [], "shared"
    chance.write_text("second")
    assert two.build("--force", "dataset:a").code == 0
    assert two.run("promote", "dataset:a", "--attempt", "2").code == 0
    assert one.run("promote", "dataset:a", "--attempt", "1").code == 0
    for _ in range(2):
        assert one.build().code == two.build().code == 0
        assert (text(one, "dataset:b"), text(two, "dataset:b")) == (["first"], ["second"])
        for project in (one, two):
            project.forget()
    assert one.build().ran == two.build().ran == []
    assert (one.root / "tunekit.lock").read_bytes() != (two.root / "tunekit.lock").read_bytes()
    assert one.run("gc", "--yes").code == 0
    assert (text(one, "dataset:b"), text(two, "dataset:b")) == (["first"], ["second"])


def test_a_forced_attempt_is_compared_and_named(two, chance):
    chance.write_text("third")
    done = two.build("--force", "dataset:a")
    assert warnings(done) == ["another-attempt"]
    (said,) = [e["message"] for e in done.events if e["type"] == "warning"]
    third = attempts(two)[2]["attempt"]
    assert "gave other bytes" in said and f"promote dataset:a --attempt {third}" in said
    chance.write_text("first")
    assert warnings(two.build("--force", "dataset:a")) == [], "the same bytes need no word"
    assert len(attempts(two)) == 4 and text(two, "dataset:b") == ["first"]


def test_a_lost_promoted_result_comes_back_silently_with_equal_bytes(two, chance):
    second = attempts(two)[1]
    assert two.run("promote", "dataset:a", "--attempt", "2").code == 0
    assert two.build().code == 0
    lose(two, second["outputs"])
    two.forget()
    plan = two.plan("dataset:a")["dataset:a"]
    assert plan.run and plan.outputs == second["outputs"], "what it is stays known"
    done = two.build("dataset:a")
    assert (done.code, done.ran, warnings(done)) == (0, ["dataset:a"], [])
    assert text(two, "dataset:a") == ["second"] and two.build("dataset:a").ran == []


def test_other_bytes_under_a_promoted_result_are_an_error(two, chance):
    second = attempts(two)[1]
    assert two.run("promote", "dataset:a", "--attempt", "2").code == 0
    assert two.build().code == 0
    lose(two, second["outputs"])
    chance.write_text("third")
    done = two.build("dataset:a")
    third = attempts(two)[2]
    found = failures(done)["dataset:a"]
    assert done.code == 3 and found["slug"] == "result-differs"
    assert second["attempt"] in found["message"] and third["attempt"] in found["message"]
    assert found["hint"].startswith(f"tunekit promote dataset:a --attempt {third['attempt']}")
    assert load_lock(two.root / "tunekit.lock").results[0].outputs == second["outputs"], "a tombstone"
    assert two.plan("dataset:b")["dataset:b"].state == "fresh", "what was made of it stands"
    assert two.run("promote", "dataset:a", "--attempt", "2").code == 2, "there is nothing to promote"
    assert two.run("gc", "--yes").code == 0
    assert two.run("promote", "dataset:a", "--attempt", "3").code == 0
    assert two.build("dataset:a", "dataset:b").ran == ["dataset:b"] and text(two, "dataset:b") == ["third"]


def test_a_clone_with_a_store_of_its_own(two, make_project, chance):
    """The lock's outputs are known without a byte; they are made where they are needed, and held to the lock."""
    assert two.run("promote", "dataset:a", "--attempt", "2").code == 0
    clone = declare(make_project("clone", store="elsewhere"), chance)
    (clone.root / "tunekit.lock").write_bytes((two.root / "tunekit.lock").read_bytes())
    assert clone.plan()["dataset:a"].outputs == attempts(two)[1]["outputs"]
    assert clone.plan()["dataset:b"].key == two.plan()["dataset:b"].key
    assert clone.run("verify", "--results").code == 1
    assert clone.build().code == 0 and clone.run("verify", "--results").out.startswith("reproduced  dataset:a")
    other = declare(make_project("other", store="third"), chance)
    (other.root / "tunekit.lock").write_bytes((two.root / "tunekit.lock").read_bytes())
    chance.write_text("third")
    assert other.build().code == 3
    done = other.run("verify", "--results", "--json")
    assert done.code == 1 and '"same_bytes": false' in done.out


def test_what_cannot_be_promoted(two):
    for words, slug in [
        (["dataset:a"], "which-attempt"),
        (["dataset:a", "--attempt", "7"], "unknown-attempt"),
        (["dataset:a", "--attempt", "20"], "unknown-attempt"),
        (["dataset:a#fetch"], "not-promotable"),
        (["dataset:a", "--drop", "--attempt", "1"], "usage"),
        (["dataset:zz"], "unknown-label"),
    ]:
        done = two.run("promote", *words)
        assert done.code == 2 and f"error[{slug}]" in done.err, (words, done.err)
    two.write("m.py", "def f(row): return row\n")
    assert "error[not-built]" in two.run("promote", "dataset:a").err
    assert not (two.root / "tunekit.lock").exists()


def test_a_renamed_target_shares_its_key_and_its_result(two):
    assert two.run("promote", "dataset:a", "--attempt", "1").code == 0
    two.manifest(TOML + '[dataset.twin]\nsource = "path:a.jsonl"\nmap = "m.py:f"\n')
    assert two.run("promote", "dataset:twin", "--attempt", "2").code == 0
    assert {r.label: r.attempt for r in load_lock(two.root / "tunekit.lock").results} == dict.fromkeys(
        ("dataset:a", "dataset:twin"), attempts(two)[1]["attempt"]
    )
    two.manifest(TOML.replace("dataset.a]", "dataset.c]").replace("dataset:a", "dataset:c"))
    done = two.run("lock", "--check")
    assert done.code == 3 and "a result of dataset:a, a result of dataset:twin" in done.err
    assert two.run("lock").code == 0 and load_lock(two.root / "tunekit.lock").results == []


def test_a_result_that_was_edited_by_hand_counts_for_nothing_that_is_here(two):
    """The block's digests say what the result is; an attempt of that name with others is not it."""
    first, second = attempts(two)
    assert two.run("promote", "dataset:a", "--attempt", "2").code == 0
    lock = two.root / "tunekit.lock"
    lock.write_text(lock.read_text().replace(second["outputs"]["main"], "sha256:" + "0" * 64))
    done = two.build("dataset:a")
    assert done.code == 3 and failures(done)["dataset:a"]["slug"] == "result-differs"
    with two.inside():
        assert open_planner(two.root, Store(two.store)).results.record(first["key"]) is None
