"""What an action ran in, for its record and for the lock: never part of a key."""

from __future__ import annotations

import platform
import subprocess
from pathlib import Path
from typing import Any

import tunekit
from tunekit.lockfile import Environment
from tunekit.plan.inputs import Inputs
from tunekit.plan.state import ABSENT

STACK = (
    "torch", "transformers", "trl", "peft", "accelerate", "datasets", "tokenizers", "safetensors", "pyarrow", "numpy",
    "huggingface-hub", "jinja2", "msgspec", "tomlkit", "rich", "xxhash", "unearth", "deepspeed", "vllm", "triton",
    "liger-kernel",
)  # fmt: skip
_commits: dict[Path, str] = {}


def packages(inputs: Inputs) -> dict[str, str]:
    """Public versions of the stack's installed distributions."""
    return {name: v for name in STACK if (v := inputs.version(name)) != ABSENT}


def python() -> str:
    return platform.python_version()


def at(root: Path, interpreter: str) -> Environment | None:
    """What is installed for another interpreter, by the metadata beside it: it is never run, since a stranger's project
    may name any program. None if there is no such folder of packages."""
    prefix = (root / interpreter).parent.parent
    folders = sorted(prefix.glob("lib/python3*/site-packages")) + sorted(prefix.glob("lib/python3*/dist-packages"))
    if not folders:
        return None
    from importlib.metadata import distributions

    have = {_name(d.name): d.version.partition("+")[0] for d in distributions(path=[str(f) for f in folders]) if d.name}
    return Environment(_python_of(prefix, folders[0]), {name: have[name] for name in STACK if name in have})


def _python_of(prefix: Path, folder: Path) -> str:
    """The version that a virtual environment says it has; else the minor one, by the folder's name."""
    try:
        lines = (prefix / "pyvenv.cfg").read_text().splitlines()
    except (OSError, UnicodeDecodeError):
        lines = []
    said = {key.strip(): value.strip() for key, _, value in (line.partition("=") for line in lines)}
    found = said.get("version") or said.get("version_info") or folder.parent.name.removeprefix("python")
    return ".".join(found.split(".")[:3])


def _name(distribution: str) -> str:
    return distribution.lower().replace("_", "-").replace(".", "-")


def describe(inputs: Inputs) -> dict[str, Any]:
    return {
        "tunekit": tunekit.__version__,
        "python": python(),
        "machine": platform.machine(),
        "packages": packages(inputs),
        "commit": commit(inputs.root),
    }


def commit(root: Path) -> str:
    """The project's git commit, `+dirty` if files differ from it; empty outside a repository. Asked once a build."""
    if root not in _commits:
        _commits[root] = _ask(root)
    return _commits[root]


def _ask(root: Path) -> str:
    try:
        head = subprocess.run(["git", "rev-parse", "HEAD"], cwd=root, capture_output=True, text=True, check=True)
        # `core.fsmonitor` of a repository's own configuration names a program
        status = ["git", "-c", "core.fsmonitor=false", "status", "--porcelain"]
        dirty = subprocess.run(status, cwd=root, capture_output=True, text=True, check=True)
    except (OSError, subprocess.CalledProcessError):
        return ""
    return head.stdout.strip() + ("+dirty" if dirty.stdout.strip() else "")
