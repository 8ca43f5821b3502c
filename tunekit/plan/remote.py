"""A place where other machines keep results, as plan and build see it. `share.remote` is one."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Any, Protocol

from tunekit.lockfile import ResultBlock
from tunekit.parts import Made
from tunekit.store.store import Store

Say = Callable[[int, int], None]  # bytes that are here, bytes in all
Promoted = Callable[[str], ResultBlock | None]  # what the lock chose for a key


class Remote(Protocol):
    """Every answer has been checked. A place that cannot be reached answers as an empty one (and says so), unless it
    is required: then RemoteError."""

    url: str

    def lookup(self, keys: list[str], promoted: Promoted) -> dict[str, dict[str, Any]]:
        """Records of those keys that it has, in one batch: of a promoted result the one that was promoted, if it has
        that."""
        ...

    def have(self, trees: list[str]) -> set[str]:
        """Those artifacts of which it has at least the list of files, in one batch."""
        ...

    def fetch(self, store: Store, trees: list[str], say: Say) -> dict[str, str]:
        """Bring artifacts into the store, side by side. Artifact → why it could not be had, for those that are not
        there afterwards."""
        ...

    def halt(self) -> None:
        """Whatever is being fetched by other threads ends soon, and is not there."""
        ...

    def small(self, store: Store, digests: list[str]) -> None:
        """Bring single small objects (histories of metrics) into the store, those that can be had."""
        ...

    def parts(self, bases: list[str]) -> list[Made]:
        """What is known of parts made with these settings."""
        ...


class Known(Protocol):
    """What a remote has of one plan, as the planner and who fetches see it: `plan.elsewhere` is the one."""

    remote: Remote
    records: dict[str, dict[str, Any]]  # by key

    def has(self, node: Any) -> bool: ...
    def ask_all(self, order: list[str], labels: Iterable[str]) -> None: ...
    def ask(self, label: str) -> Any: ...
    def refuse(self, label: str) -> None: ...
    def adopt(self, label: str) -> dict[str, Any]: ...
