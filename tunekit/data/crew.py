"""Processes that do the same kind of work side by side: forked, so that they have what their parent has read.

Rows do not travel: a job is a number, what is made of it lies in files, and the answer is a few bytes. Whoever is done
is given the next job, so no work piles up in front of a slow one.
"""

from __future__ import annotations

import os
import pickle
import selectors
import signal
import socket
import traceback
from collections.abc import Callable, Generator, Iterator, Sequence
from contextlib import suppress
from typing import Any, NamedTuple, TypeVar

from tunekit.errors import ActionError
from tunekit.lifeline import die_with

_T = TypeVar("_T")
_HEAD = 8  # bytes of the length in front of an answer


class _Hand(NamedTuple):
    pid: int
    channel: socket.socket


def side_by_side(work: Callable[[int], _T], jobs: Sequence[int], hands: int) -> Generator[tuple[int, _T]]:
    """`(job, work(job))` of every job, as they are done; jobs are begun in their order.

    With one hand, or one job, the work is done here. Of several jobs that fail, the error of the first one is raised
    when those before it are done. Raises what `work` raises, and ActionError (`process-died`).
    """
    hands = min(hands, len(jobs))
    if hands < 2:
        yield from ((job, work(job)) for job in jobs)
        return
    crew: list[_Hand] = []
    try:
        for _ in range(hands):
            crew.append(_hire(work, [hand.channel for hand in crew]))
        yield from _answers(crew, list(jobs))
    finally:
        for hand in crew:
            hand.channel.close()
            with suppress(ProcessLookupError):
                os.kill(hand.pid, signal.SIGKILL)
            os.waitpid(hand.pid, 0)


def _answers(crew: list[_Hand], left: list[int]) -> Iterator[tuple[int, _T]]:
    busy: dict[int, int] = {}  # pid → job
    failed: dict[int, Exception] = {}
    with selectors.DefaultSelector() as selector:
        for hand in crew:
            selector.register(hand.channel, selectors.EVENT_READ, hand)
            _give(hand, left.pop(0), busy)
        while busy:
            for key, _ in selector.select():
                hand = key.data
                good, made = _receive(hand)
                job = busy.pop(hand.pid)
                if good:
                    yield job, made
                else:
                    failed[job] = made
                if left and not failed:
                    _give(hand, left.pop(0), busy)
            if failed and all(job > min(failed) for job in busy.values()):
                raise failed[min(failed)]


def _give(hand: _Hand, job: int, busy: dict[int, int]) -> None:
    busy[hand.pid] = job
    with suppress(BrokenPipeError):  # it has died: seen when its answer is read
        hand.channel.sendall(b"%d" % job)


def _receive(hand: _Hand) -> tuple[bool, Any]:
    with suppress(ConnectionResetError), hand.channel.makefile("rb") as file:
        head = file.read(_HEAD)
        data = file.read(int.from_bytes(head)) if len(head) == _HEAD else b""
        if head and len(data) == int.from_bytes(head):
            good, made = pickle.loads(data)  # of a process that is this one's copy
            return good, made
    message = "a process that worked on rows has died"
    raise ActionError(message, slug="process-died", hint="out of memory? then give the build fewer cores")


def _hire(work: Callable[[int], Any], others: list[socket.socket]) -> _Hand:
    ours, theirs = socket.socketpair()
    parent = os.getpid()
    pid = os.fork()
    if pid:
        theirs.close()
        return _Hand(pid, ours)
    code = 1
    try:
        for channel in [*others, ours]:
            channel.close()
        die_with(parent)
        _serve(theirs, work)
        code = 0
    finally:
        os._exit(code)


def _serve(channel: socket.socket, work: Callable[[int], Any]) -> None:
    while data := channel.recv(64):  # the parent sends a job only when it has the answer to the last one
        try:
            answer = pickle.dumps((True, work(int(data))))
        except Exception as e:
            if not isinstance(e, ActionError):
                traceback.print_exc()  # into the action's log: a traceback does not travel
            answer = pickle.dumps((False, e))
        channel.sendall(len(answer).to_bytes(_HEAD) + answer)
