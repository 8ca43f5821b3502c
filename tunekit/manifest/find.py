"""Where a project is."""

from __future__ import annotations

from pathlib import Path

from tunekit.errors import UsageError

MANIFEST = "tunekit.toml"


def find_root(start: Path) -> Path:
    """The nearest folder at or above `start` with a tunekit.toml. Raises UsageError `no-project`."""
    for folder in (start, *start.parents):
        if (folder / MANIFEST).is_file():
            return folder
    raise UsageError(
        f"no {MANIFEST} in {start} or above it", slug="no-project", hint="`tunekit init` makes a project that builds"
    )
