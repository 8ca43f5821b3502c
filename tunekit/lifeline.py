"""Processes that must not survive their parent, and those that user code started and left behind."""

from __future__ import annotations

import contextlib
import ctypes
import os
import signal
from collections.abc import Container

_PR_SET_PDEATHSIG = 1
_PR_SET_CHILD_SUBREAPER = 36


def die_with(parent: int, by: signal.Signals = signal.SIGKILL) -> None:
    """Get this signal when `parent` dies, also if it died just now."""
    ctypes.CDLL(None).prctl(_PR_SET_PDEATHSIG, by)
    if os.getppid() != parent:
        os._exit(1)


def adopt_orphans() -> None:
    """Be the parent of whatever a descendant leaves behind, in whichever group or session it hides."""
    ctypes.CDLL(None).prctl(_PR_SET_CHILD_SUBREAPER, 1)


def end_children(keep: Container[int] = ()) -> None:
    """Kill the children of this process but those to keep, and what they leave behind in turn."""
    while strays := [pid for pid in children() if pid not in keep]:
        for pid in strays:
            with contextlib.suppress(ProcessLookupError, PermissionError):
                os.kill(pid, signal.SIGKILL)
        for pid in strays:
            with contextlib.suppress(ChildProcessError):
                os.waitpid(pid, 0)


def end_marked(mark: bytes) -> None:
    """Kill every process of this user's that has `mark` in the environment that it was started with."""
    for name in filter(str.isdigit, os.listdir("/proc")):
        with contextlib.suppress(OSError), open(f"/proc/{name}/environ", "rb") as file:
            if mark in file.read().split(b"\0"):
                os.kill(int(name), signal.SIGKILL)


def children() -> list[int]:
    """Children of this process, those that have ended and were not waited for included."""
    found: list[int] = []
    try:
        for thread in os.listdir("/proc/self/task"):
            with open(f"/proc/self/task/{thread}/children") as file:
                found += map(int, file.read().split())
    except OSError:  # a kernel without that list
        return [int(name) for name in filter(str.isdigit, os.listdir("/proc")) if _parent(name) == os.getpid()]
    return found


def _parent(pid: str) -> int:
    try:
        with open(f"/proc/{pid}/stat") as file:
            return int(file.read().rpartition(")")[2].split()[1])
    except OSError:
        return -1
