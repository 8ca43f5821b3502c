"""The parts of one item of an action: found where they were made before, kept when they are made now."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

from tunekit.parts import Part, earlier, part_key
from tunekit.protocol import Events, Request


class PartCache:
    """Tells the controller of every part. Without a store or settings to go by it finds and keeps nothing."""

    def __init__(self, request: Request, events: Events, item: int = 0) -> None:
        self._events = events
        self._item = item
        self._base = request.bases[item] if item < len(request.bases) else ""
        self._shelf = events.shelf if self._base else None
        self._previous = request.previous

    def find(self, chunk: str) -> Part | None:
        """What was made of a chunk under these settings."""
        return self._shelf.find(part_key(self._base, chunk)) if self._shelf else None

    def use(self, chunk: str, part: Part, rows: int) -> None:
        """A part that was found is part of this action."""
        self._events.part(self._item, chunk, part.output, made=False, rows=rows)

    def keep(
        self, chunk: str, directory: Path, rows: int, copied: int, hashed: tuple[Path, str] | None = None
    ) -> dict[str, Path]:
        """Make a part durable: from here on a kill does not lose it. Returns where its files are now. `hashed`: one of
        its files whose digest is known."""
        return self.tell(chunk, self.seal(directory, hashed), directory, rows, copied)

    def seal(self, directory: Path, hashed: tuple[Path, str] | None = None) -> str:
        """The first half of `keep`, for any process: put the files into the store. Empty without one."""
        if not self._shelf:
            return ""
        if hashed:
            self._shelf.hashed(*hashed)
        return self._shelf.seal(str(directory))

    def tell(self, chunk: str, output: str, directory: Path, rows: int, copied: int) -> dict[str, Path]:
        """The second half, for the one process that holds the pen."""
        if self._shelf and output:
            self._events.part(self._item, chunk, output, made=True, rows=rows, copied=copied)
            part = self._shelf.open(output)
            assert part is not None  # it was sealed just now
            return part.files
        return {file.name: file for file in directory.iterdir()}

    def earlier(self) -> Iterator[Part]:
        """Parts of the last execution under these settings, whatever chunks they were made of."""
        return earlier(self._previous, self._base, self._shelf) if self._shelf else iter(())
