"""A remote behind plain HTTP(S), read only: `GET <url>/ac/<hex>` and `<url>/cas/<hex>` of any static file server."""

from __future__ import annotations

import hashlib
import os
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import httpx2

import tunekit
from tunekit.errors import RemoteError
from tunekit.hashing import PREFIX
from tunekit.share.remote_place import SMALL, Item, Outcome, denied, halt_if, read_only, unreachable
from tunekit.share.remote_pool import side_by_side

_AT_ONCE = 8
_TRIES = 3
_PAUSE = 0.2  # seconds before the second try, three times that before the third
_AGAIN = {408, 425, 429, 500, 502, 503, 504}


class Web:
    """One pool of connections; proxies are those of the environment."""

    writable = False
    halted = False

    def __init__(self, url: str) -> None:
        self.url = url.rstrip("/")
        self._client = httpx2.Client(
            follow_redirects=True,
            timeout=httpx2.Timeout(30.0, connect=10.0),
            headers={"User-Agent": f"tunekit/{tunekit.__version__}", "Accept-Encoding": "identity"},
            limits=httpx2.Limits(max_connections=_AT_ONCE, max_keepalive_connections=_AT_ONCE),
        )

    def read(self, names: list[str]) -> dict[str, bytes]:
        with ThreadPoolExecutor(_AT_ONCE) as pool:
            found = dict(zip(names, pool.map(self._small, names), strict=True))
        return {name: data for name, data in found.items() if data is not None}

    def _small(self, name: str) -> bytes | None:
        """A whole blob; None if it is not there or larger than SMALL."""
        blocks: list[bytes] = []
        size = self._stream(name, SMALL, blocks.append, blocks.clear)
        return None if size is None or size > SMALL else b"".join(blocks)

    def get(self, items: list[Item]) -> Iterator[Outcome]:
        return side_by_side(self._one, items, _AT_ONCE)

    def _one(self, item: Item) -> Outcome:
        from tunekit.share.remote_folder import fault_of

        with open(os.open(item.path, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o444), "wb", 0) as file:
            h = hashlib.sha256()

            def take(block: bytes) -> None:
                h.update(block)
                file.write(block)

            def again() -> None:
                nonlocal h
                h = hashlib.sha256()
                file.seek(0)
                file.truncate()

            size = self._stream(item.name, item.size, take, again)
        if size is None:
            return Outcome(item, "is not there", lost=True)
        return Outcome(item, fault_of(item, PREFIX + h.hexdigest(), size))

    def _stream(self, name: str, limit: int, take: Any, again: Any) -> int | None:
        """Hand on a blob's bytes, one more than `limit` at most; how many there were, None for no such blob. A try that
        broke begins anew, after `again`; bytes that ended too soon three times are what they are."""
        for attempt in range(1, _TRIES + 1):
            size, answered = 0, False
            try:
                with self._client.stream("GET", f"{self.url}/{name}") as answer:
                    if answer.status_code in (404, 410):
                        return None
                    if answer.status_code in (401, 403):
                        raise denied(self.url, RuntimeError(f"HTTP status {answer.status_code}"))
                    answer.raise_for_status()
                    answered = True
                    for block in answer.iter_raw():
                        halt_if(self)
                        take(block[: limit + 1 - size])
                        size += len(block)
                        if size > limit:
                            return size
                return size
            except (httpx2.HTTPError, httpx2.InvalidURL) as e:
                status = e.response.status_code if isinstance(e, httpx2.HTTPStatusError) else 0
                if answered and attempt == _TRIES:
                    return size  # it is cut: the caller says so of this blob, not of the whole place
                if attempt == _TRIES or (status and status not in _AGAIN):
                    raise unreachable(self.url, e) from e
                again()
                time.sleep(_PAUSE * 3 ** (attempt - 1))
        raise AssertionError("unreachable")

    # -- writing is not possible ---------------------------------------------------------------

    def open(self) -> None:
        raise self._refuse()

    def sizes(self, names: list[str]) -> dict[str, int]:
        raise self._refuse()

    def put(self, items: list[Item]) -> Iterator[Outcome]:
        raise self._refuse()

    def settle(self) -> None:
        raise self._refuse()

    def put_new(self, name: str, data: bytes) -> bool:
        raise self._refuse()

    def replace(self, name: str, data: bytes) -> None:
        raise self._refuse()

    def _refuse(self) -> RemoteError:
        return read_only(self.url)
