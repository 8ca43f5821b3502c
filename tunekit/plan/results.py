"""Which attempt is the result of a key: the one that the lock promotes, else the store's first success."""

from __future__ import annotations

from typing import Any

from tunekit.hashing import digest_of
from tunekit.lockfile import Lock, ResultBlock
from tunekit.store import records
from tunekit.store.store import Store


class Results:
    """One project's view of a store. `stamp` changes with what the lock promotes; empty where that is nothing."""

    def __init__(self, store: Store, lock: Lock) -> None:
        self._store = store
        self._promoted = {block.key: block for block in lock.results}
        found = sorted([key, str(b.attempt), b.outputs] for key, b in self._promoted.items())
        self.stamp = digest_of(found, "results")[7:23] if found else ""

    def promoted(self, key: str) -> ResultBlock | None:
        """The lock's block of a key."""
        return self._promoted.get(key)

    def record(self, key: str) -> dict[str, Any] | None:
        """The record that counts. Of a promoted result any attempt with its bytes; None if there is none here, though
        the block says what its outputs are."""
        block = self._promoted.get(key)
        if block is None:
            return records.lookup(self._store, key)
        same = [r for r in records.attempts(self._store, key) if r["outputs"] == block.outputs]
        named = [r for r in same if r["attempt"] == block.attempt]
        return next(iter(named or same), None)

    def measured(self, key: str) -> dict[str, Any]:
        """What gates are held against: the record, or what the lock says that a promoted one measured."""
        record = self.record(key)
        if record is None and (block := self._promoted.get(key)):
            return {"effective": {"summary": block.metrics}}
        return record or {}
