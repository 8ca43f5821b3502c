"""The machine: devices, memory, disk, what the operating system lets us do, the store, and which settings are there
(never what they are)."""

from __future__ import annotations

import contextlib
import fcntl
import os
import platform
import shutil
import struct
import subprocess
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

from tunekit import diskspace
from tunekit.errors import TunekitError
from tunekit.store.store import Store, default_root

_QUERY = "name,memory.total,memory.free,driver_version,compute_cap"
_SECRETS = ("HF_TOKEN", "HUGGING_FACE_HUB_TOKEN", "WANDB_API_KEY", "AWS_ACCESS_KEY_ID")
_SETTINGS = ("HF_HUB_OFFLINE", "HF_ENDPOINT", "TUNEKIT_STORE", "TUNEKIT_REMOTE", "TUNEKIT_TRUST", "HTTPS_PROXY")


class Gpu(NamedTuple):
    """`memory` and `free` in bytes; `bf16`: whether it computes in bfloat16."""

    name: str
    memory: int
    free: int
    driver: str
    capability: str
    bf16: bool


class Check(NamedTuple):
    """Something that works here or does not. `needed`: a build does not run without it."""

    name: str
    ok: bool
    needed: bool
    note: str = ""


def gpus() -> list[Gpu]:
    """What nvidia-smi tells; nothing where there is none."""
    program = shutil.which("nvidia-smi")
    if program is None:
        return []
    try:
        done = subprocess.run(
            [program, f"--query-gpu={_QUERY}", "--format=csv,noheader,nounits"],
            capture_output=True, text=True, timeout=10, check=True,
        )  # fmt: skip
        return [_gpu(line) for line in done.stdout.splitlines() if line.strip()]
    except (OSError, subprocess.SubprocessError, ValueError):
        return []


def _gpu(line: str) -> Gpu:
    name, total, free, driver, capability = line.rsplit(", ", 4)
    return Gpu(name, int(total) << 20, int(free) << 20, driver, capability, float(capability) >= 8.0)


def cpu() -> dict[str, Any]:
    """Cores that this process may use, and whether the CPU has instructions for bfloat16 (without, it is slow)."""
    flags: set[str] = set()
    with contextlib.suppress(OSError):
        lines = Path("/proc/cpuinfo").read_text().splitlines()
        named = (line.partition(":") for line in lines)
        flags = next((set(value.split()) for key, _, value in named if key.strip() in ("flags", "Features")), set())
    return {
        "cores": len(os.sched_getaffinity(0)),
        "machine": platform.machine(),
        "bf16": bool(flags & {"avx512_bf16", "amx_bf16", "bf16"}),
    }


def disk(place: Path) -> dict[str, Any]:
    found = diskspace.room(place)
    return {"mount": found.mount, "free": found.free, "total": found.total}


def settings() -> dict[str, bool]:
    """Whether each is there. Values are nobody's business."""
    out = {name: bool(os.environ.get(name)) for name in (*_SECRETS, *_SETTINGS)}
    home = Path(os.environ.get("HF_HOME") or Path.home() / ".cache" / "huggingface")
    return out | {"hub login (a token file)": (home / "token").is_file()}


def checks() -> list[Check]:
    """What builds need of the operating system, tried in the store's own file system where that is there."""
    root = default_root()
    place = root if root.is_dir() else root.parent if root.parent.is_dir() else Path(tempfile.gettempdir())
    out = [_store(root), Check("Linux", platform.system() == "Linux", True, platform.platform())]
    try:
        with tempfile.TemporaryDirectory(prefix=".doctor-", dir=place) as folder:
            out += [_tried(name, needed, probe, Path(folder)) for name, (needed, probe) in _PROBES.items()]
    except OSError as e:
        out.append(Check(f"writing to {place}", False, True, str(e.strerror)))
    strace = shutil.which("strace")
    return [*out, Check("strace (build --audit)", bool(strace), False, strace or "not on the PATH")]


def _tried(name: str, needed: bool, probe: Callable[[Path], object], folder: Path) -> Check:
    try:
        probe(folder)
    except (OSError, AttributeError) as e:
        return Check(name, False, needed, str(e))
    return Check(name, True, needed)


def _store(root: Path) -> Check:
    if not root.exists():
        return Check("the store", True, True, f"{root} is made by the first build")
    try:
        store = Store(root).ensure()
    except (TunekitError, OSError) as e:
        return Check("the store", False, True, str(e))
    bad = sum(1 for _ in (root / "quarantine").rglob("*")) if (root / "quarantine").is_dir() else 0
    unfinished = sum(1 for _ in (root / "staging").glob("*")) if (root / "staging").is_dir() else 0
    note = f"{store.root}: {unfinished} unfinished actions, {bad} damaged objects put away"
    return Check("the store", True, True, note + (" (tunekit verify)" if bad else ""))


def _ofd_lock(folder: Path) -> None:
    with open(folder / "lock", "wb") as file:
        fcntl.fcntl(file, fcntl.F_OFD_SETLK, struct.pack("hhllhh", fcntl.F_WRLCK, 0, 0, 1, 0, 0))


def _hard_link(folder: Path) -> None:
    (folder / "a").write_bytes(b"x")
    os.link(folder / "a", folder / "b")


def _symlink(folder: Path) -> None:
    os.symlink("a", folder / "link")


def _fsync(folder: Path) -> None:
    fd = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(fd)
    finally:
        os.close(fd)


def _memfd(folder: Path) -> None:
    os.close(os.memfd_create("doctor"))


def _pidfd(folder: Path) -> None:
    os.close(os.pidfd_open(os.getpid()))


_PROBES: dict[str, tuple[bool, Callable[[Path], object]]] = {
    "locks of open files (leases)": (True, _ofd_lock),
    "hard links in the store": (True, _hard_link),
    "symbolic links in the store": (True, _symlink),
    "fsync of folders": (True, _fsync),
    "files in memory (requests)": (True, _memfd),
    "process descriptors (ends of workers)": (True, _pidfd),
}
