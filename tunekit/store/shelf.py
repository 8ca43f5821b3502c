"""The store as a worker sees it: parts are found, opened and sealed (`tunekit.parts.Shelf`)."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path

from tunekit.parts import Part
from tunekit.store import artifacts, records
from tunekit.store.proof import is_bad, raise_for, sealed_since
from tunekit.store.store import Store


class StoreShelf:
    """Of one action's process. What it was told that it hashed is not hashed again when it is sealed. `since`: when the
    build began (ns)."""

    def __init__(self, store: Store, since: int | None = None) -> None:
        self._store = store
        self._since = since
        self._inputs: dict[str, dict[str, str]] = {}  # of trees that were asked about: path → digest
        self._hashed: dict[tuple[int, ...], str] = {}

    def find(self, part: str) -> Part | None:
        output = records.part_output(self._store, part)
        return self.open(output) if output else None

    def open(self, output: str) -> Part | None:
        files = artifacts.whole(self._store, output)
        return None if files is None else Part(output, files)

    def prove(self, tree: str, paths: Iterable[str]) -> None:
        if tree not in self._inputs:
            self._inputs[tree] = {e.path: e.digest for e in artifacts.read_tree(self._store, tree) or []}
        found = {self._inputs[tree][path] for path in paths if path in self._inputs[tree]}
        old = [digest for digest in found if not sealed_since(self._store, digest, self._since)]
        raise_for(self._store, [digest for digest in old if is_bad(self._store, digest)])

    def hashed(self, file: Path, digest: str) -> None:
        self._hashed[artifacts.signature(file.stat())] = digest

    def seal(self, directory: str) -> str:
        return artifacts.seal(self._store, Path(directory), self._hashed)
