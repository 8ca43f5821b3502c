"""The store as a worker sees it: parts are found, opened and sealed (`tunekit.parts.Shelf`)."""

from __future__ import annotations

from pathlib import Path

from tunekit.parts import Part
from tunekit.store import artifacts, records
from tunekit.store.store import Store


class StoreShelf:
    """Of one action's process. What it was told that it hashed is not hashed again when it is sealed."""

    def __init__(self, store: Store) -> None:
        self._store = store
        self._hashed: dict[tuple[int, ...], str] = {}

    def find(self, part: str) -> Part | None:
        output = records.part_output(self._store, part)
        return self.open(output) if output else None

    def open(self, output: str) -> Part | None:
        files = artifacts.whole(self._store, output)
        return None if files is None else Part(output, files)

    def hashed(self, file: Path, digest: str) -> None:
        self._hashed[artifacts.signature(file.stat())] = digest

    def seal(self, directory: str) -> str:
        return artifacts.seal(self._store, Path(directory), self._hashed)
