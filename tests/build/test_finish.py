"""What `--finish` refuses before anything runs. (That it finishes: tests/e2e/test_finish.py.)"""

from __future__ import annotations

import pytest
from outside import TRAINED

from tunekit.build.finish import early, key_to_finish
from tunekit.errors import ActionError
from tunekit.store import leases


@pytest.fixture
def declared(project):
    project.rows("a.jsonl", [{"text": f"line {i}"} for i in range(9)])
    project.manifest(TRAINED.replace("DATA", '"dataset:a"'))
    return project


@pytest.mark.parametrize(
    ("words", "code", "slug", "more"),
    [
        (["--finish", "run:x"], 1, "no-checkpoint", "`tunekit build run:x` trains it"),
        (["--finish", "run:x@last"], 1, "no-checkpoint", "depends on"),
        (["--finish", "dataset:a"], 2, "cannot-finish", "--finish takes a run"),
        (["--finish", "run:x#tokens"], 2, "cannot-finish", "run:x#tokens (tokens)"),
        (["--finish", "run:y"], 2, "unknown-label", "did you mean `run:x`?"),
        (["--finish", "run:x", "--force", "run:x"], 2, "finish-and-force", "choose one"),
        (["dataset:a", "--finish", "run:x", "--dry-run"], 1, "no-checkpoint", "no checkpoint"),
    ],
)
def test_refusals(declared, words, code, slug, more):
    done = declared.run("build", *words)
    assert done.code == code and f"error[{slug}]" in done.err and more in done.err
    assert not list((declared.store / "ac").iterdir()), "nothing ran"


def test_a_run_in_use_is_left_alone(declared):
    """The key is known once its inputs are; whoever holds its lease trains it."""
    planner = declared.planner()
    planner.plan(["run:x"])
    node = planner.nodes["run:x"]
    node.key = "sha256:" + "7" * 64
    (planner.store.staging(node.key) / "work").mkdir(parents=True)
    assert key_to_finish(planner, "run:x") == node.key
    lease = leases.acquire(planner.store, node.key)
    with pytest.raises(ActionError) as found:
        key_to_finish(planner, "run:x")
    assert found.value.slug == "in-use"
    lease.release()


def test_in_words():
    assert early({}) == early({"effective": {}}) == ""
    assert early({"effective": {"finished_early": {"step": 8, "of": 60}}}) == "finished early at step 8 of 60"
