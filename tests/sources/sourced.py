"""A project's folder and cache in which a test locks a source and writes what is locked."""

from __future__ import annotations

from pathlib import Path

import pytest

from tunekit.errors import SourceError
from tunekit.sources.registry import materialise, resolve


class Sourced:
    """`told`: what progress said. `whole` completes what a test asks for to a source."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.cache = folder / "cache"
        self.told: list[tuple[int, int, str]] = []

    def whole(self, text: str) -> str:
        return text

    def lock(self, text: str = "", **more):
        def tell(done: int, total: int, unit: str) -> None:
            self.told.append((done, total, unit))

        return resolve(self.whole(text), root=self.folder, cache=self.cache, progress=tell, **more)

    def write(self, block, **more) -> dict[str, bytes]:
        out = self.folder / f"out{len(list(self.folder.glob('out*')))}"
        materialise(block, out, root=self.folder, cache=self.cache, **more)
        return {str(p.relative_to(out)): p.read_bytes() for p in out.rglob("*") if p.is_file()}

    def forget(self) -> None:
        for file in self.cache.rglob("*"):
            if file.is_file():
                file.unlink()

    def refused(self, text: str = "", **more) -> SourceError:
        with pytest.raises(SourceError) as caught:
            self.lock(text, **more)
        assert caught.value.hint
        return caught.value
