"""What an action ran in, for its record and for the lock: never part of a key."""

from __future__ import annotations

import os
import platform
import subprocess
from pathlib import Path
from typing import Any

import tunekit
from tunekit.errors import ActionError
from tunekit.lockfile import Environment
from tunekit.plan.inputs import Inputs
from tunekit.plan.state import ABSENT

STACK = (
    "torch", "transformers", "trl", "peft", "accelerate", "datasets", "tokenizers", "safetensors", "pyarrow", "numpy",
    "huggingface-hub", "jinja2", "msgspec", "tomlkit", "rich", "xxhash", "unearth", "deepspeed", "vllm", "triton",
    "liger-kernel", "gguf",
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


def need(inputs: Inputs, label: str, names: list[str]) -> None:
    """ActionError `package-missing` for one that is not installed: its version is in the key, and a typo would guard
    nothing."""
    for name in names:
        if inputs.version(name) == ABSENT:
            hint = "install it, or look at `packages` of the target"
            raise ActionError(f"{label}: the package `{name}` is not installed", slug="package-missing", hint=hint)


def commit(root: Path) -> str:
    """The project's git commit, `+dirty` if files differ from it; empty outside a repository. Asked once a build."""
    if root not in _commits:
        _commits[root] = _ask(root)
    return _commits[root]


def _ask(root: Path) -> str:
    try:
        head = _git(root, "rev-parse", "HEAD")
        dirty = _git(root, *_harmless(root), "status", "--porcelain", "--ignore-submodules=all")
    except (OSError, subprocess.CalledProcessError):
        return ""
    return head.strip() + ("+dirty" if dirty.strip() else "")


def _git(root: Path, *words: str) -> str:
    return subprocess.run(["git", *words], cwd=root, capture_output=True, text=True, check=True).stdout


def _harmless(root: Path) -> list[str]:
    """Settings with which `git status` runs no program that the folder's own `.git/config` names: an archive may
    come with one, and nobody was asked about it."""
    try:
        found = _git(root, "config", "--list", "--show-scope", "--name-only", "-z").split("\0")
    except subprocess.CalledProcessError:
        found = []
    named = {key.rpartition(".")[0] for scope, key in zip(found[::2], found[1::2], strict=False)
             if scope in ("local", "worktree") and key.startswith("filter.")}  # fmt: skip
    off = ["core.fsmonitor=false", f"core.hooksPath={os.devnull}"]
    for name in sorted(named):
        off += [f"{name}.clean=", f"{name}.process=", f"{name}.required=false"]
    return [word for setting in off for word in ("-c", setting)]
