"""One generated project and the timing of commands in it."""

from __future__ import annotations

import os
import statistics
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple

import graphs

TUNEKIT = [sys.executable, "-m", "tunekit"]


class Figure(NamedTuple):
    """Medians of some runs of one command: seconds and CPU seconds."""

    wall: float
    cpu: float


class Project:
    def __init__(self, base: Path, n: int, generate: Callable[[Path, int], None] = graphs.tunekit) -> None:
        self.n = n
        self.root, self.store = base / f"p{n}", base / f"s{n}"
        generate(self.root, n)
        ours = {"TUNEKIT_STORE": str(self.store), "TUNEKIT_CONFIG": str(base / "config"), "TUNEKIT_TRUST": "1"}
        self.env = os.environ | ours
        self.edits = 0

    def once(self, command: list[str]) -> tuple[Figure, str]:
        """One run, with the kernel's own account of it."""
        with tempfile.TemporaryFile() as out:
            start = time.perf_counter()
            pid = os.posix_spawn(
                command[0], command, {**self.env, "PWD": str(self.root)},
                file_actions=[(os.POSIX_SPAWN_DUP2, out.fileno(), 1), (os.POSIX_SPAWN_DUP2, out.fileno(), 2)],
            )  # fmt: skip
            _, status, used = os.wait4(pid, 0)
            wall = time.perf_counter() - start
            out.seek(0)
            text = out.read().decode()
        if status:
            raise SystemExit(f"{command} failed:\n{text[-2000:]}")
        return Figure(wall, used.ru_utime + used.ru_stime), text

    def controller(self) -> float:
        """CPU seconds that the process which controls a build spends on running its actions: without its children,
        and without what it takes to start, to read the project and to plan (which a `plan` costs as well)."""
        code = (
            "import sys, time; from tunekit.cli.main import run\n"
            "run(['plan']); before = time.process_time(); run(['plan']); planned = time.process_time() - before\n"
            "before = time.process_time(); run(['build']); print(time.process_time() - before - planned)"
        )
        return float(self.once([sys.executable, "-c", code])[1].splitlines()[-1])

    def edit(self) -> None:
        self.edits += 1
        graphs.edit_one(self.root, self.edits % len(graphs.chains(self.n)), self.edits)


# A child starts with its parent's peak: the parent must be small for the figure to be the child's own.
_PEAK = (
    "import os, resource, sys; null = os.open('/dev/null', os.O_WRONLY); "
    "pid = os.posix_spawn(sys.argv[1], sys.argv[1:], os.environ, file_actions=[(os.POSIX_SPAWN_DUP2, null, 1)]); "
    "os.waitpid(pid, 0); print(resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss // 1024)"
)


def median(some: list[Figure]) -> Figure:
    return Figure(*(statistics.median(f[i] for f in some) for i in range(2)))


def peak(project: Project, command: list[str]) -> int:
    """Largest resident set of one run, in MB."""
    return int(project.once([sys.executable, "-I", "-S", "-c", _PEAK, *command])[1].split()[-1])
