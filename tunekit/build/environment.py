"""What an action ran in, for its record: never part of a key."""

from __future__ import annotations

import platform
import subprocess
from pathlib import Path
from typing import Any

import tunekit
from tunekit.plan.inputs import Inputs
from tunekit.plan.state import ABSENT

STACK = (
    "torch", "transformers", "trl", "peft", "accelerate", "datasets", "tokenizers", "safetensors", "pyarrow",
    "jinja2", "msgspec", "tomlkit", "rich", "xxhash", "unearth", "deepspeed", "vllm", "triton", "liger-kernel",
    "gguf",
)  # fmt: skip
_commits: dict[Path, str] = {}


def packages(inputs: Inputs) -> dict[str, str]:
    """Public versions of the stack's installed distributions."""
    return {name: v for name in STACK if (v := inputs.version(name)) != ABSENT}


def describe(inputs: Inputs) -> dict[str, Any]:
    return {
        "tunekit": tunekit.__version__,
        "python": platform.python_version(),
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
        dirty = subprocess.run(["git", "status", "--porcelain"], cwd=root, capture_output=True, text=True, check=True)
    except (OSError, subprocess.CalledProcessError):
        return ""
    return head.stdout.strip() + ("+dirty" if dirty.stdout.strip() else "")
