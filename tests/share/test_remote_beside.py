"""Fetching beside a build: what is ready starts meanwhile, a key is fetched once, Ctrl-C ends it."""

from __future__ import annotations

import os
import signal
import threading
import time

import pytest

from tunekit.build.aside import Aside
from tunekit.plan.project import open_planner
from tunekit.share import remote_folder
from tunekit.store.store import Store

DECLARED = """
[project]
name = "shared"
default = ["dataset:c", "dataset:d", "dataset:e"]

[remote]
url = "{url}"

[dataset.a]
source = "path:a.jsonl"
[dataset.b]
from = ["dataset:a"]
map = "m.py:f"
[dataset.c]
from = ["dataset:b"]
limit = 2
[dataset.d]
from = ["dataset:a"]
limit = 1
[dataset.e]
from = ["dataset:c"]
limit = 1
"""


@pytest.fixture
def yours(machines, pushed):
    """A clone that has to fetch c, and to make d (from a) and e (from c)."""
    return machines.make("yours", declared=DECLARED)


def waiting(monkeypatch, until: threading.Event, name: str) -> list[str]:
    """Fetches of a blob that begin; they go on once `until` is set."""
    seen: list[str] = []
    real = remote_folder.copy_hashed

    def slow(source, target, limit, between=lambda: None):
        seen.append(os.path.basename(source))
        if source.endswith(name):
            deadline = time.monotonic() + 20
            while not until.is_set() and time.monotonic() < deadline:
                between()
                time.sleep(0.01)
        return real(source, target, limit, between)

    monkeypatch.setattr(remote_folder, "copy_hashed", slow)
    return seen


def rows_of(machines, pushed, label: str) -> str:
    """The name of the blob with a result's rows."""
    planner = open_planner(pushed.root, Store(pushed.store), keep=False)
    from tunekit.store import artifacts

    planner.plan([label])
    entries = artifacts.read_tree(Store(pushed.store), planner.nodes[label].outputs["main"])
    return next(e.digest[7:] for e in entries if e.path.endswith(".arrow"))


def test_what_is_ready_starts_while_another_result_is_fetched(machines, pushed, yours, monkeypatch):
    """`c` comes only once `d` is built, so that a build that waits for it before it starts anything would not end."""
    from tunekit.build.builder import Builder, Options
    from tunekit.plan.elsewhere import Elsewhere
    from tunekit.share.remote import Remote, open_place

    done = threading.Event()
    seen = waiting(monkeypatch, done, rows_of(machines, pushed, "dataset:c"))
    planner = open_planner(yours.root, Store(yours.store).ensure())
    planner.elsewhere = Elsewhere(planner, Remote(open_place(str(machines.remote), yours.root), lambda s, m: None))
    events: list[tuple[str, str]] = []

    def listen(event):
        events.append((event["type"], event.get("action", "")))
        if events[-1] == ("end", "dataset:d"):
            done.set()

    labels = ["dataset:c", "dataset:d", "dataset:e"]
    result = Builder(planner, labels, Options(trust=True), listen).run()
    assert done.is_set() and not result.failed
    assert sorted(result.executed) == ["dataset:d", "dataset:e"] and "dataset:c" in result.fetched
    assert (
        events.index(("end", "dataset:d"))
        < events.index(("fetched", "dataset:c"))
        < events.index(("begin", "dataset:e"))
    )
    assert len(seen) == len(set(seen)), "each blob once"


def test_two_labels_of_one_key_are_one_fetch(machines, pushed, monkeypatch):
    yours = machines.make("yours")
    yours.manifest((yours.root / "tunekit.toml").read_text().replace('default = ["dataset:c"]', "")
                   + '[dataset.twin]\nfrom = ["dataset:b"]\nlimit = 2\n')  # fmt: skip
    seen = waiting(monkeypatch, threading.Event(), "nothing")
    summary = yours.build("dataset:c", "dataset:twin").one("summary")
    assert summary["executed"] == [] and sorted(summary["fetched"]) == ["dataset:c", "dataset:twin"]
    assert len(seen) == len(set(seen)) > 0


HANGING = """
import sys, time
from tunekit.share import remote_folder
real = remote_folder.copy_hashed
def slow(source, target, limit, between=lambda: None):
    open(target, "xb").close()
    print("fetching", flush=True)
    while True:
        between()
        time.sleep(0.01)
remote_folder.copy_hashed = slow
from tunekit.cli.main import run
sys.exit(run(["build"]))
"""


def test_ctrl_c_ends_a_fetch_and_leaves_nothing(machines, pushed):
    import subprocess
    import sys

    yours = machines.make("yours")
    command = [sys.executable, "-c", HANGING]
    with subprocess.Popen(command, cwd=yours.root, env=yours.environment(), stdout=subprocess.PIPE, text=True,
                          stderr=subprocess.PIPE) as child:  # fmt: skip
        assert child.stdout is not None
        while (line := child.stdout.readline()) != "fetching\n":
            assert line, child.stderr and child.stderr.read()
        began = time.monotonic()
        child.send_signal(signal.SIGINT)
        _, err = child.communicate(timeout=20)
    assert child.returncode == 130 and time.monotonic() - began < 10, err
    assert "Traceback" not in err
    assert not list((yours.store / "tmp").iterdir())
    assert yours.build().one("summary")["fetched"] == ["dataset:c"]


def test_a_result_that_does_not_come_is_made_after_what_could_start(machines, pushed, yours):
    blob = machines.remote / "cas" / rows_of(machines, pushed, "dataset:c")
    blob.unlink()
    done = yours.build()
    assert done.code == 0 and set(done.ran) >= {"dataset:c", "dataset:d", "dataset:e"}
    again = yours.build("--offline")
    assert again.ran == []


def test_work_beside_a_loop_is_bounded_and_its_errors_come_up():
    aside = Aside(2)
    running, most, ends = [0], [0], []
    lock = threading.Lock()

    def work() -> int:
        with lock:
            running[0] += 1
            most[0] = max(most[0], running[0])
        time.sleep(0.01)
        with lock:
            running[0] -= 1
        return 1

    for _ in range(8):
        aside.begin(work, ends.append)
    while aside.busy:
        aside.take()
        time.sleep(0.001)
    assert ends == [1] * 8 and most[0] == 2

    def fail() -> None:
        raise ValueError("no")

    aside.begin(fail, lambda _: None)
    with pytest.raises(ValueError, match="no"):
        while aside.busy:
            aside.take()
    aside.close(1.0)
