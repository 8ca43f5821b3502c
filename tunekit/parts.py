"""Parts: pieces of an action's work, one a chunk of rows, that are cached and resumed on their own.

A part's key is made of the action's settings without its data (the *base*, which the controller computes) and of the
digest of the chunk (which the worker finds as it reads). So the worker can look parts up while it cuts; only the
controller writes down what it is told is there, under a key that it computes itself: code of the project runs in the
worker, and must not be able to answer for other settings than its own.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import NamedTuple, Protocol

from tunekit.foreign import json_of
from tunekit.hashing import digest_of


def part_key(base: str, chunk: str) -> str:
    """Key of what settings `base` make of the rows `chunk`."""
    return digest_of([base, chunk], "tunekit/part/2")


def chunk_name(rows: str, manner: str) -> str:
    """What names the rows that a part is made of: their digest, and what of how they are read or taken no setting
    says (a format of `auto`)."""
    return digest_of([rows, manner], "tunekit/chunk/1")


class Part(NamedTuple):
    """An artifact in the store: its digest, and where its files are. They must not be written to."""

    output: str
    files: dict[str, Path]


class Shelf(Protocol):
    """The store as a worker sees it."""

    def find(self, part: str) -> Part | None:
        """The artifact under a part's key, if all of it is there."""
        ...

    def open(self, output: str) -> Part | None:
        """The artifact of a digest, if all of it is there."""
        ...

    def prove(self, tree: str, paths: Iterable[str]) -> None:
        """Before files of an input are read: see whether they still are what their names say. Raises ActionError
        `corrupt-input`."""
        ...

    def hashed(self, file: Path, digest: str) -> None:
        """A file that this process has just written, and hashed as it did: sealing it does not read it again."""
        ...

    def seal(self, directory: str) -> str:
        """Make a directory an artifact. Its files become read-only and may move. Returns the digest."""
        ...


class Made(NamedTuple):
    """A part of an earlier execution, as its record lists it."""

    base: str
    chunk: str
    output: str

    @classmethod
    def read(cls, text: str) -> Iterator[Made]:
        """The parts that `write` wrote."""
        return (cls(*json_of(line)) for line in text.splitlines())

    @staticmethod
    def write(parts: list[Made]) -> str:
        """One a line."""
        return "".join(json.dumps(list(part)) + "\n" for part in parts)


def listed(parts: str) -> list[Made]:
    """The parts of an earlier execution. `parts`: the lines that `Made.write` wrote, or the absolute path of the file
    that holds them where they are many. It is a hint, so what cannot be read is no part."""
    try:
        return list(Made.read(Path(parts).read_text() if parts.startswith("/") else parts))
    except (OSError, ValueError, TypeError):
        return []


def earlier(parts: str, base: str, shelf: Shelf) -> Iterator[Part]:
    """The parts of the last execution that were made with the same settings, as far as they are still there."""
    for output in dict.fromkeys(part.output for part in listed(parts) if part.base == base):
        part = shelf.open(output)
        if part is not None:
            yield part
