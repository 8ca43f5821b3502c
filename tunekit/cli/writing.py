"""A file that a verb writes for people: there in full, or not at all."""

from __future__ import annotations

import contextlib
import errno
import os
from collections.abc import Callable, Iterator
from pathlib import Path

from tunekit.errors import UsageError


@contextlib.contextmanager
def replaced(path: Path) -> Iterator[Callable[[str], object]]:
    """Writes a file beside `path`, which takes its place when all is well. UsageError `cannot-write`."""
    spare = path.with_name(f".{path.name}.{os.getpid()}")
    try:
        if path.is_dir():
            raise IsADirectoryError(errno.EISDIR, os.strerror(errno.EISDIR))
        file = open(spare, "x", encoding="utf-8")  # noqa: SIM115  (what is written to it may fail in other ways)
    except OSError as e:
        raise UsageError(f"{path} cannot be written: {e.strerror}", slug="cannot-write") from e
    try:
        with file:
            yield file.write
        os.replace(spare, path)
    finally:
        spare.unlink(missing_ok=True)
