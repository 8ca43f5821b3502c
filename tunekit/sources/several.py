"""A few downloads of one source at once, and one account of how far they are."""

from __future__ import annotations

import threading
from collections.abc import Callable, Sequence
from concurrent.futures import FIRST_EXCEPTION, ThreadPoolExecutor, wait
from typing import TypeVar

from tunekit.sources.deliver import Progress

AT_ONCE = 4
Item = TypeVar("Item")
Result = TypeVar("Result")


class _Stopped(BaseException):
    """Another download failed, or the person had enough: not an error of this one, and nothing to try again."""


def several(
    work: Callable[[Item, Progress], Result],
    items: Sequence[tuple[Item, int]],
    progress: Progress,
    at_once: int = AT_ONCE,
) -> list[Result]:
    """`work` for each item, in order of the items; with each its size in bytes. `work` is handed what takes how far its
    item is. The first failure (or a Ctrl-C) ends the others where they next say how far they are, and is raised."""
    total = sum(size for _, size in items)
    done = [0] * len(items)
    lock, stop = threading.Lock(), threading.Event()

    def teller(i: int, size: int) -> Progress:
        def tell(now: int, _total: int, unit: str) -> None:
            if stop.is_set():
                raise _Stopped
            with lock:
                done[i] = min(now, size)
                progress(sum(done), total, "bytes")

        return tell

    def one(i: int) -> Result:
        item, size = items[i]
        tell = teller(i, size)
        tell(0, size, "bytes")
        result = work(item, tell)
        tell(size, size, "bytes")
        return result

    if at_once == 1 or len(items) < 2:
        return [one(i) for i in range(len(items))]
    with ThreadPoolExecutor(at_once) as pool:
        futures = [pool.submit(one, i) for i in range(len(items))]
        try:
            wait(futures, return_when=FIRST_EXCEPTION)
        finally:
            if not all(f.done() for f in futures) or any(f.exception() for f in futures):
                stop.set()
                pool.shutdown(wait=True, cancel_futures=True)
    for future in futures:
        if not future.cancelled() and (e := future.exception()) and not isinstance(e, _Stopped):
            raise e
    return [future.result() for future in futures]
