"""Trust: one function in front of the worker (decision 9). Code is trusted by content, or a folder by its owner.

Kept in the user's configuration folder, never in a project: a clone cannot trust itself.
"""

from __future__ import annotations

import json
import os
from pathlib import Path

from tunekit.errors import TrustError
from tunekit.foreign import json_of
from tunekit.hashing import sha256_bytes
from tunekit.store.disk import replace
from tunekit.store.store import config_folder


def _file() -> Path:
    return config_folder() / "trust.json"


def _load() -> dict[str, list[str]]:
    try:
        body = json_of(_file().read_bytes())
        return {"digests": list(body["digests"]), "folders": list(body["folders"])}
    except (FileNotFoundError, ValueError, KeyError, TypeError):
        return {"digests": [], "folders": []}


def trust_digests(digests: list[str]) -> None:
    known = _load()
    known["digests"] = sorted({*known["digests"], *digests})
    replace(_file(), json.dumps(known, indent=1).encode())


def trust_folder(root: Path) -> None:
    known = _load()
    known["folders"] = sorted({*known["folders"], str(root.resolve())})
    replace(_file(), json.dumps(known, indent=1).encode())


def untrusted(root: Path, code: dict[str, str]) -> dict[str, str]:
    """The files (path → digest) that nobody said yes to."""
    if not code or os.environ.get("TUNEKIT_TRUST") == "1":
        return {}
    known = _load()
    if str(root.resolve()) in known["folders"]:
        return {}
    return {path: digest for path, digest in code.items() if digest not in set(known["digests"])}


def variables(root: Path, names: list[str]) -> dict[str, str]:
    """What `[project] pass_env` asks for, to be trusted like a file: `$NAME` → a digest of this folder and the name, so
    that a yes to a token holds for one project."""
    return {f"${name}": sha256_bytes(f"tunekit/pass_env/1\n{root.resolve()}\n{name}".encode()) for name in names}


def check(root: Path, code: dict[str, str], label: str) -> None:
    """Raises TrustError (exit 6) unless every file may run."""
    bad = untrusted(root, code)
    if bad:
        files = ", ".join(sorted(bad))
        raise TrustError(
            f"{label} runs code of this project with what you have not trusted: {files}"
            if all(name.startswith("$") for name in bad)
            else f"{label} runs code of this project that you have not trusted: {files}",
            hint="look at it, then: tunekit trust   (or `--trust` for this call)",
        )
