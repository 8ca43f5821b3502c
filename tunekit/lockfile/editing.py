"""One editor of a lock at a time: what it writes is a change of what is there, not of what it read a while ago."""

from __future__ import annotations

import fcntl
import os
from collections.abc import Callable
from pathlib import Path

from tunekit.lockfile.blocks import Lock
from tunekit.lockfile.reading import load_lock
from tunekit.lockfile.writing import save_lock


def edit_lock(path: Path, change: Callable[[Lock], Lock]) -> tuple[Lock, bool]:
    """Read the lock, change it and write it, while nobody else does; what it is now, and whether its bytes changed.

    The folder is what is locked (flock): it leaves no file behind, and ends with its process. `change` should be quick:
    others wait for it.
    """
    folder = os.open(path.parent, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        fcntl.flock(folder, fcntl.LOCK_EX)
        changed = change(load_lock(path))
        return changed, save_lock(changed, path)
    finally:
        os.close(folder)
