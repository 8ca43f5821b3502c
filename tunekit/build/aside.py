"""Work beside a loop that waits for file descriptors: a few threads do it, the loop takes up what comes of it."""

from __future__ import annotations

import contextlib
import os
import threading
from collections.abc import Callable
from functools import cached_property
from queue import Empty, SimpleQueue
from typing import TypeVar

T = TypeVar("T")


class Aside:
    """At most `at_once` pieces of work side by side, in threads that do not outlive the process. What a piece comes to
    is handed on where `take` is called, and nowhere else; `fd` can be read when there is something to take."""

    def __init__(self, at_once: int) -> None:
        self._at_once = at_once
        self._work: SimpleQueue[Callable[[], None]] = SimpleQueue()
        self._said: SimpleQueue[Callable[[], None]] = SimpleQueue()
        self._threads: list[threading.Thread] = []
        self._open = 0
        self._closing = False

    @cached_property
    def _pipe(self) -> tuple[int, int]:
        return os.pipe2(os.O_CLOEXEC | os.O_NONBLOCK)

    @property
    def fd(self) -> int:
        return self._pipe[0]

    @property
    def busy(self) -> bool:
        """Whether something was begun that has not been taken."""
        return self._open > 0

    def begin(self, work: Callable[[], T], then: Callable[[T], None]) -> None:
        """Do `work` in a thread, and `then` with its value in `take`, where its error is raised, too."""
        self._open += 1

        def whole() -> None:
            try:
                value = work()
            except BaseException as e:
                error = e  # the name of the handler is gone by the time that it is raised
                self.tell(lambda: self._raise(error))
                return
            self.tell(lambda: self._end(then, value))

        self._work.put(whole)
        if len(self._threads) < min(self._at_once, self._open):
            thread = threading.Thread(target=self._run, name="aside", daemon=True)
            self._threads.append(thread)
            thread.start()

    def tell(self, what: Callable[[], None]) -> None:
        """Of a thread: let the loop do something."""
        self._said.put(what)
        if not self._closing:
            with contextlib.suppress(BlockingIOError):  # it is full: there is enough to wake the loop up
                os.write(self._pipe[1], b"!")

    def take(self) -> None:
        """Of the loop: all that was told since."""
        with contextlib.suppress(BlockingIOError):
            os.read(self.fd, 1 << 16)
        while True:
            try:
                what = self._said.get_nowait()
            except Empty:
                return
            what()

    def close(self, patience: float) -> None:
        """Take nothing up any more. Threads have so many seconds to end what they are at."""
        self._closing = True
        while not self._work.empty():
            self._work.get_nowait()
        for _ in self._threads:
            self._work.put(_no_more)
        for thread in self._threads:
            thread.join(patience)
        if "_pipe" in self.__dict__ and not any(thread.is_alive() for thread in self._threads):
            for fd in self._pipe:
                os.close(fd)

    def _run(self) -> None:
        while (work := self._work.get()) is not _no_more:
            work()

    def _end(self, then: Callable[[T], None], value: T) -> None:
        self._open -= 1
        then(value)

    def _raise(self, error: BaseException) -> None:
        self._open -= 1
        raise error


def _no_more() -> None:
    """The last that a thread gets."""
