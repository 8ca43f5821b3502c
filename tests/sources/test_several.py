from __future__ import annotations

import threading

import pytest

from tunekit.sources.several import several


def test_results_in_order_and_one_account():
    told = []
    barrier = threading.Barrier(3, timeout=10)  # broken unless three run at once

    def work(item, tell):
        barrier.wait()
        tell(item, 0, "bytes")
        return item * 10

    assert several(work, [(i, i) for i in (3, 1, 2)], lambda *at: told.append(at), at_once=3) == [30, 10, 20]
    assert told[-1] == (6, 6, "bytes") and told == sorted(told), "it never goes back"


def test_a_failure_ends_the_others():
    started, ended = [], []

    def work(item, tell):
        started.append(item)
        if item == 0:
            raise ValueError("this one")
        try:
            while True:
                tell(1, 2, "bytes")
        finally:
            ended.append(item)

    with pytest.raises(ValueError, match="this one"):
        several(work, [(i, 2) for i in range(20)], lambda *at: None, at_once=3)
    assert sorted(ended) == sorted(set(started) - {0}) and len(started) < 20


def test_one_at_a_time():
    here = threading.current_thread()
    assert several(lambda i, tell: threading.current_thread() is here, [(1, 1)] * 3, lambda *at: None, 1) == [True] * 3
    assert several(lambda i, tell: i, [], lambda *at: None) == []
