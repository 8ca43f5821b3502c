"""Where a project is."""

from __future__ import annotations

import os
from pathlib import Path

from tunekit.errors import UsageError

MANIFEST = "tunekit.toml"


OURS = ".tunekit"


def own_folder(root: Path) -> None:
    """Make `.tunekit`, with a `.gitignore` of its own: nothing in it belongs into a repository."""
    try:
        fd = os.open(f"{root}/{OURS}/.gitignore", os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o644)
    except FileExistsError:
        return
    except FileNotFoundError:
        os.makedirs(f"{root}/{OURS}", exist_ok=True)
        return own_folder(root)
    try:
        os.write(fd, b"*\n")
    finally:
        os.close(fd)


def _check_ours(root: Path) -> None:
    """What tunekit writes in a project stays there. A clone may come with links: `history.jsonl` is appended to, and
    one that leads to a shell's start-up file would be executed. UsageError `path-outside-project`."""
    base = f"{root}/{OURS}"
    ours = [base, *(f"{base}/{name}" for name in ("history.jsonl", "out", "state"))]
    if os.path.isdir(f"{base}/out") and not os.path.islink(f"{base}/out"):
        ours += [entry.path for entry in os.scandir(f"{base}/out")]
    for path in ours:
        if os.path.islink(path):
            message = f"{os.path.relpath(path, root)} is a link: tunekit would write where it leads"
            hint = "remove it; it holds nothing that cannot be made again"
            raise UsageError(message, slug="path-outside-project", hint=hint)


def find_root(start: Path) -> Path:
    """The nearest folder at or above `start` with a tunekit.toml. Raises UsageError `no-project`."""
    for folder in (start, *start.parents):
        if (folder / MANIFEST).is_file():
            _check_ours(folder)
            return folder
    raise UsageError(
        f"no {MANIFEST} in {start} or above it", slug="no-project", hint="`tunekit init` makes a project that builds"
    )
