"""The lock of another revision, out of git. Nothing that a repository configures is run for it: no pager, filter,
text conversion, hook or transport."""

from __future__ import annotations

import os
import subprocess
from pathlib import Path

from tunekit.errors import UsageError
from tunekit.lockfile import Lock, empty_lock, read_lock
from tunekit.plan.project import LOCK

_HINT = "tunekit lock diff REVISION (a branch, tag or commit of git), or the path of a lock file"


def lock_of(root: Path, asked: str) -> tuple[Lock, str]:
    """The lock at a path or of a revision, and what to call it. A revision without one has an empty lock.

    UsageError `unknown-revision`; LockError for what is no lock.
    """
    file = Path(asked)
    if file.is_file():
        return read_lock(file.read_bytes(), asked), asked
    if not asked or asked.startswith("-") or ":" in asked or any(ord(c) < 33 for c in asked):
        raise UsageError(f"`{asked}` is neither a file nor a revision", slug="unknown-revision", hint=_HINT)
    commit = _git(root, "rev-parse", "--verify", "--quiet", "--end-of-options", asked + "^{commit}")
    if commit is None:
        message = f"there is no file `{asked}`, and git knows no such revision at {root}"
        raise UsageError(message, slug="unknown-revision", hint=_HINT)
    name = commit.decode().strip()
    data = _git(root, "cat-file", "blob", f"{name}:./{LOCK}")
    title = f"{asked} ({name[:9]})"
    if data is None:
        return empty_lock(), f"{title}, which has no {LOCK}"
    return read_lock(data, f"{asked}:{LOCK}"), title


def _git(root: Path, *words: str) -> bytes | None:
    """What git prints; None if it is not there or says no."""
    env = {**os.environ, "GIT_ALLOW_PROTOCOL": "", "GIT_NO_LAZY_FETCH": "1", "GIT_TERMINAL_PROMPT": "0"}
    command = ["git", "--no-pager", "--no-optional-locks", "-c", "core.fsmonitor=false", *words]
    try:
        done = subprocess.run(command, cwd=root, env=env, stdin=subprocess.DEVNULL, capture_output=True)
    except FileNotFoundError:
        return None
    return None if done.returncode else done.stdout
