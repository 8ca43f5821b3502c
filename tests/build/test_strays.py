"""What user code starts does not outlive its action: in another session, as a daemon, with an empty environment; and
not a kill -9 of the build or of the nursery either."""

from __future__ import annotations

import os
import signal

import pytest
from outside import processes, victims, wait_until

# Everything is left behind on purpose, and found again by its command line: `sleep 300 <mark>`
MESS = """
import os, subprocess, time

def f(row, mark, wait):
    word = "exec -a " + mark + " sleep 300"
    shell = ["bash", "-c", word]
    subprocess.Popen(shell)
    subprocess.Popen(shell, start_new_session=True)
    subprocess.Popen(["bash", "-c", "setsid bash -c '" + word + "' & setsid bash -c '" + word + "' & exit"])
    subprocess.Popen(shell, start_new_session=True, env={"PATH": os.environ["PATH"]})
    if not os.fork():                                     # a daemon, as they are made
        os.setsid()
        if not os.fork():
            os.execvp("bash", shell)
        os._exit(0)
    while wait:
        time.sleep(0.05)
    return row
"""
STARTED = 6


def declare(project, wait: bool) -> str:
    mark = f"stray-{os.getpid()}-{os.urandom(4).hex()}"
    project.rows("a.jsonl", [{"x": 1}])
    project.write("m.py", MESS)
    args = f'{{ mark = "{mark}", wait = {str(wait).lower()} }}'
    project.manifest(f'[dataset.a]\nsource = "path:a.jsonl"\nmap = "m.py:f"\nargs = {args}\n')
    return mark


def test_what_an_action_started_ends_with_it(project):
    mark = declare(project, wait=False)
    run = project.start("build", "--json")
    out, err = run.communicate(timeout=60)
    assert run.returncode == 0 and '"executed": ["dataset:a#fetch", "dataset:a"]' in out, err
    assert not processes(mark)


@pytest.mark.parametrize("what", ["controller", "nursery", "child"])
def test_what_an_action_started_ends_with_a_kill(project, what):
    mark = declare(project, wait=True)
    run = project.start("build", "--json")
    try:
        assert wait_until(lambda: len(processes(mark)) >= STARTED, 30), processes(mark)
        for pid in set(victims(project, run.pid)[what]) - set(processes(mark)):
            os.kill(pid, signal.SIGKILL)
        run.communicate(timeout=30)
        # an orphan of a killed nursery is known by the mark in its environment: one has none
        left = int(what == "nursery")
        assert wait_until(lambda: len(processes(mark)) <= left, 10), processes(mark)
    finally:
        run.kill()
        for pid in processes(mark):
            os.kill(pid, signal.SIGKILL)


def test_a_build_that_is_interrupted_leaves_nothing(project):
    mark = declare(project, wait=True)
    run = project.start("build", "--json")
    assert wait_until(lambda: len(processes(mark)) >= STARTED, 30)
    run.send_signal(signal.SIGINT)
    run.communicate(timeout=30)
    assert run.returncode == 130 and wait_until(lambda: not processes(mark))
