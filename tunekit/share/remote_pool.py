"""Carrying many items side by side: a few at once, handed back as they end, and quickly given up."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from concurrent.futures import FIRST_COMPLETED, Future, ThreadPoolExecutor, wait

from tunekit.share.remote_place import Item, Outcome


def side_by_side(work: Callable[[Item], Outcome], items: list[Item], at_once: int) -> Iterator[Outcome]:
    """Outcomes as they come. Whoever stops asking, or an error, leaves nothing queued."""
    if len(items) == 1:
        yield work(items[0])
        return
    pool = ThreadPoolExecutor(min(at_once, max(len(items), 1)), thread_name_prefix="remote")
    try:
        left = iter(items)
        running: set[Future[Outcome]] = set()
        for item in left:
            running.add(pool.submit(work, item))
            if len(running) >= at_once * 2:
                done, running = wait(running, return_when=FIRST_COMPLETED)
                yield from (f.result() for f in done)
        while running:
            done, running = wait(running, return_when=FIRST_COMPLETED)
            yield from (f.result() for f in done)
    finally:
        pool.shutdown(wait=True, cancel_futures=True)
