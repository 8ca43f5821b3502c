"""kill -9 anywhere: no process survives, nothing half-made is ever taken for whole, the next build completes, and
its results are those of a build that nobody interrupted."""

from __future__ import annotations

import os
import random
import shutil
import signal
import subprocess
import sys
import time

import pytest
from outside import processes, victims, wait_until

from tunekit.hashing import sha256_bytes
from tunekit.store import artifacts, records
from tunekit.store.store import Store

NODES = 6
MAP = 'import time\ndef f(row, n):\n    time.sleep(0.01)\n    print(n)\n    return {"x": row["x"] * n}\n'


def chain(project) -> None:
    project.rows("a.jsonl", [{"x": i} for i in range(3)])
    project.write("m.py", MAP)
    text = '[dataset.d0]\nsource = "path:a.jsonl"\n'
    for i in range(1, NODES):
        text += f'[dataset.d{i}]\nfrom = ["dataset:d{max(0, i - 2)}"]\nmap = "m.py:f"\nargs = {{ n = {i} }}\n'
    project.manifest(text)


def whole(store: Store) -> None:
    """Every object is what its name says; every selected record's artifacts are there."""
    for path in (store.root / "objects").glob("??/*"):
        assert sha256_bytes(path.read_bytes()) == "sha256:" + path.name
    for key in {path.name.partition(".")[0] for path in (store.root / "ac").glob("*/*")}:
        record = records.lookup(store, "sha256:" + key)
        for tree in (record or {"outputs": {}})["outputs"].values():
            assert all(store.object(e.digest).exists() for e in artifacts.read_tree(store, tree))


def torment(project, clean_outputs, rng: random.Random, kills: int) -> None:
    """Start, kill something at a random moment, start again; then build to the end."""
    store = Store(project.store).ensure()
    for turn in range(kills):
        run = project.start("build", "--json")
        what = ("controller", "nursery", "child")[turn % 3]
        if what == "child":
            wait_until(lambda run=run, pid=run.pid: run.poll() is not None or victims(project, pid)["child"], 3)
        time.sleep(rng.random() * (0.5 if what != "child" else 0.05))
        for pid in victims(project, run.pid)[what]:
            try:
                os.kill(pid, signal.SIGKILL)
            except ProcessLookupError:
                continue
        try:
            _, err = run.communicate(timeout=30)
        finally:
            run.kill()
        assert run.returncode in (0, 1, -9), (what, run.returncode, err)
        assert "error[bug]" not in err and "Traceback" not in err, (what, err)
        assert wait_until(lambda: not processes(str(project.store))), (what, processes(str(project.store)))
        whole(store)
    done = project.build()
    assert done.code == 0, done.err
    assert project.outputs() == clean_outputs
    for left in (store.root / "staging").iterdir():  # of one killed between its result and its tidying: gc's
        key = "sha256:" + left.name
        assert records.lookup(store, key) or artifacts.read_tree(store, key) is not None
    assert project.build().ran == []


@pytest.fixture
def clean_outputs(make_project):
    clean = make_project("clean", "clean-store")
    chain(clean)
    assert clean.build().code == 0
    return clean.outputs()


def test_kill_anything(project, clean_outputs):
    chain(project)
    torment(project, clean_outputs, random.Random(5), kills=6)


@pytest.mark.long
@pytest.mark.parametrize("seed", range(25))
def test_kill_anything_300_times(project, clean_outputs, seed):
    chain(project)
    torment(project, clean_outputs, random.Random(seed), kills=12)


PUBLISH = """
import sys
from pathlib import Path
from tunekit.hashing import sha256_bytes
from tunekit.store import artifacts, records
from tunekit.store.store import Store
root = Path(sys.argv[1])
store = Store(root / "store").ensure()
folder = root / "out"
for name in ("a", "d/b"):
    (folder / name).parent.mkdir(parents=True, exist_ok=True)
    (folder / name).unlink(missing_ok=True)
    (folder / name).write_bytes(name.encode() * 50)
log = artifacts.add_bytes(store, b"log")
tree = artifacts.seal(store, folder)
record = {"key": sha256_bytes(b"key"), "attempt": sys.argv[2], "label": "x:y", "preimage": {},
          "outputs": {"main": tree}, "effective": {}, "log": log}
records.add(store, record)
artifacts.view(store, tree)
"""
CALLS = ("fsync", "link", "linkat", "rename", "unlink", "symlink", "mkdir", "write", "fchmod")
strace = pytest.mark.skipif(not shutil.which("strace"), reason="strace is not installed")


def killed_at(place, call: str, number: int) -> bool:
    """Publish under strace, which kills it before the nth system call of a kind; False when it lived to the end."""
    command = [
        "strace",
        "-f",
        "-qq",
        "-o",
        "/dev/null",
        "-e",
        f"trace={call}",
        "-e",
        f"inject={call}:signal=KILL:when={number}",
    ]
    run = subprocess.run(
        [*command, sys.executable, "-c", PUBLISH, str(place), f"{call}{number}"], capture_output=True, text=True
    )
    assert run.returncode in (0, -9, 137), run.stderr
    store = Store(place / "store").ensure()
    found = records.lookup(store, sha256_bytes(b"key"))
    whole(store)
    if found is not None:
        for entry in artifacts.read_tree(store, found["outputs"]["main"]):
            assert store.object(entry.digest).stat().st_size == entry.size
    done = subprocess.run([sys.executable, "-c", PUBLISH, str(place), "after"], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    found = records.lookup(store, sha256_bytes(b"key"))
    tree = found["outputs"]["main"]
    assert sorted(p.name for p in artifacts.view(store, tree).rglob("*")) == ["a", "b", "d"]
    return run.returncode != 0


@strace
@pytest.mark.parametrize(("call", "number"), [("fsync", 2), ("link", 2), ("rename", 1)])
def test_kill_in_the_middle_of_a_publish(tmp_path, call, number):
    assert killed_at(tmp_path, call, number)


@strace
@pytest.mark.long
@pytest.mark.parametrize("call", CALLS)
def test_kill_at_every_system_call_of_a_publish(tmp_path, call):
    number = 1
    while killed_at(tmp_path / str(number), call, number):
        number += 1
        assert number < 400
