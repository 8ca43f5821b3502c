"""A disk that fills up, for real (a small tmpfs in a mount namespace): an error with a name, exit 1, nothing half-made
is left, and with room again the next build completes with the bytes of one that had room all the time."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

SCRIPT = Path(__file__).with_name("small_disk.py")


@pytest.fixture(scope="module")
def namespace() -> list[str]:
    """The command that gives a process mounts of its own."""
    probe = ["unshare", "-rm", "mount", "-t", "tmpfs", "none", "/mnt"]
    try:
        done = subprocess.run(probe, capture_output=True, text=True)
    except FileNotFoundError:
        pytest.skip("there is no `unshare` (util-linux) for a small disk")
    if done.returncode:
        pytest.skip(f"a small disk needs a user namespace with mounts: {done.stderr.strip()}")
    return ["unshare", "-rm"]


def play(namespace, project, *words: str):
    env = project.environment(PYTHONPATH=os.pathsep.join(p for p in sys.path if p))
    done = subprocess.run(
        [*namespace, sys.executable, SCRIPT, project.root, *words], env=env, capture_output=True, text=True
    )
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout)


def failures(said) -> list[dict]:
    events = [json.loads(line) for line in said["out"].splitlines()]
    return [e for e in events if e["type"] == "failed"]


def test_a_disk_that_fills_while_an_action_runs(namespace, project):
    said = play(namespace, project, "worker")
    (failed,) = failures(said["full"])
    assert said["full"]["code"] == 1 and failed["slug"] == "disk-full" and failed["action"] == "dataset:a"
    assert f"{project.root}/disk (" in failed["message"] and "free of 1.23 MB" in failed["message"]
    assert "tunekit gc" in failed["hint"] and "Traceback" not in said["full"]["err"]
    (failed,) = failures(said["refused"])
    assert said["refused"]["code"] == 1 and failed["slug"] == "disk-full"
    assert "an action starts with 500MB free" in failed["message"] and "TUNEKIT_MIN_FREE" in failed["hint"]
    assert '"start"' not in said["refused"]["out"]
    assert said["again"]["code"] == 0 and '"executed": ["dataset:a"]' in said["again"]["out"]


def held(said) -> None:
    for one in said:
        first, room = one["first"], one["room"]
        named = [f["slug"] for f in failures(first)] or ["disk-full"] * ("error[disk-full]" in first["err"])
        assert (first["code"], named) in ((1, ["disk-full"]), (0, [])), (room, first)
        assert "Traceback" not in first["err"] and "bug" not in first["err"]
        assert one["second"]["code"] == 0 and not one["left"] and one["verify"]["code"] == 0, one
    assert len({one["path"] for one in said}) == 1 and said[0]["path"]


def test_a_disk_that_fills_under_the_controller(namespace, project):
    said = play(namespace, project, "pages", "2", "20", "60")
    held(said)
    assert [one["first"]["code"] for one in said] == [1, 1, 0]


@pytest.mark.parametrize("kind", ["writers", pytest.param("tensors", marks=pytest.mark.torch)])
def test_what_libraries_raise_is_understood(namespace, project, kind):
    """They say it in words of their own, from C++ and Rust, mostly without an errno."""
    said = play(namespace, project, kind)
    assert len(said) == {"writers": 6, "tensors": 3}[kind], said
    assert all(understood for understood, _ in said.values()), said


@pytest.mark.long
@pytest.mark.parametrize(("kind", "rooms"), [("pages", range(1, 44)), ("entries", range(1, 90, 2))])
def test_every_write_of_a_build_fails_once(namespace, project, kind, rooms):
    said = play(namespace, project, kind, *map(str, rooms))
    held(said)
    assert {one["first"]["code"] for one in said} == {0, 1}
