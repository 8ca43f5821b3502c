"""Side by side, as one by one: the same answers, the same error; and nobody is left behind."""

from __future__ import annotations

import os
import time
from contextlib import suppress
from pathlib import Path

import pytest

from tunekit.data.crew import side_by_side
from tunekit.errors import ActionError


@pytest.mark.parametrize("hands", [1, 2, 5])
@pytest.mark.parametrize("count", [0, 1, 7])
def test_every_job_is_done_once(hands, count):
    assert sorted(side_by_side(lambda job: job * job, range(count), hands)) == [(i, i * i) for i in range(count)]


def test_jobs_are_done_by_others_and_answers_may_be_large():
    found = dict(side_by_side(lambda job: (os.getpid(), b"x" * 3_000_000), range(6), 2))
    pids = {pid for pid, _ in found.values()}
    assert os.getpid() not in pids and 1 <= len(pids) <= 2
    assert all(len(data) == 3_000_000 for _, data in found.values())


def failing(job: int) -> int:
    if job == 2:
        time.sleep(0.2)  # a later job fails before
    if job in (2, 3):
        raise ActionError(f"job {job}", slug="bad-row", hint="look")
    time.sleep(0.01 * (job > 3))  # whoever failed has time to say so
    return job


@pytest.mark.parametrize("hands", [1, 3])
def test_the_first_error_is_raised_and_what_was_before_it_is_done(hands):
    done = []
    with pytest.raises(ActionError) as e:
        for job, _ in side_by_side(failing, range(400), hands):
            done.append(job)
    assert (e.value.message, e.value.slug, e.value.hint) == ("job 2", "bad-row", "look")
    assert {0, 1} <= set(done) and len(done) < 200, "no job is begun when one has failed"


def test_an_error_of_the_system_stays_one():
    """A full disk is told from a bad row by its number."""

    def full(job: int) -> None:
        raise OSError(28, "No space left on device", f"/part/{job}")

    with pytest.raises(OSError, match="No space") as e:
        list(side_by_side(full, range(3), 2))
    assert (e.value.errno, e.value.filename) == (28, "/part/0")


def test_a_process_that_dies_is_an_error_with_a_name():
    with pytest.raises(ActionError) as e:
        list(side_by_side(lambda job: os._exit(3), range(3), 2))
    assert e.value.slug == "process-died"


def test_nobody_is_left_when_the_one_who_asked_stops(tmp_path: Path):
    """Nor is anybody left as a zombie."""

    def work(job: int) -> int:
        (tmp_path / str(os.getpid())).touch()
        time.sleep(0 if job == 0 else 60)
        return job

    answers = side_by_side(work, range(5), 3)
    assert next(answers) == (0, 0)
    answers.close()
    for pid in os.listdir(tmp_path):
        with suppress(ProcessLookupError):
            os.kill(int(pid), 0)
            pytest.fail(f"{pid} is still there")
