"""Writing a lock: its text is a function of its content."""

from __future__ import annotations

import contextlib
import json
import os
import re
from pathlib import Path
from typing import Any

from tunekit.lockfile.blocks import VERSION, Lock, SourceBlock

_HEADER = "# Written by tunekit. Commit it; `tunekit lock` brings it up to date.\n"
_BARE = re.compile(r"[A-Za-z0-9_-]+\Z")


def dump_lock(lock: Lock) -> str:
    """The file's text: sorted, and the same for equal locks."""
    out = [_HEADER, f"version = {VERSION}\n"]
    for name, environment in sorted(lock.environments.items()):
        out.append(f"\n[environment.{key_of(name)}]\npython = {text_of(environment.python)}\n")
        out.append(f"\n[environment.{key_of(name)}.packages]\n" + _pairs(environment.packages))
    for name, recipe in sorted(lock.recipes.items()):
        at = f"recipes.{key_of(name)}"
        out.append(f"\n[{at}]\ndigest = {text_of(recipe.digest)}\n")
        out.append(f"\n[{at}.settings]\n" + _pairs(recipe.settings))
    for result in sorted(lock.results, key=lambda r: (r.label, r.key, str(r.attempt))):
        attempt = result.attempt if isinstance(result.attempt, int) else text_of(result.attempt)
        out.append(f"\n[[result]]\nlabel = {text_of(result.label)}\nkey = {text_of(result.key)}\nattempt = {attempt}\n")
        outputs = ", ".join(f"{key_of(role)} = {text_of(digest)}" for role, digest in sorted(result.outputs.items()))
        out.append(f"outputs = {{ {outputs} }}\n" if outputs else "outputs = {}\n")
        if result.metrics:
            out.append(f"metrics = {_value(result.metrics)}\n")
        if result.determinism:
            out.append(f"determinism = {text_of(result.determinism)}\n")
    out.extend(_source_text(lock.sources[name]) for name in sorted(lock.sources))
    return "".join(out)


def _source_text(block: SourceBlock) -> str:
    out = [f"\n[[source]]\nsource = {text_of(block.source)}\n"]
    if block.revision:
        out.append(f"revision = {text_of(block.revision)}\n")
    if block.archive:
        name, size, sha256 = block.archive
        out.append(f"archive = {{ name = {text_of(name)}, size = {size}, sha256 = {text_of(sha256)} }}\n")
    out.append(f"tree = {text_of(block.tree)}\ncheck = {text_of(block.check)}\nfiles = [\n")
    out.extend(
        f"    {{ path = {text_of(f.path)}, size = {f.size}, sha256 = {text_of(f.sha256)} }},\n"
        for f in sorted(block.files)
    )
    out.append("]\n")
    return "".join(out)


def _pairs(table: dict[str, Any]) -> str:
    return "".join(f"{key_of(k)} = {_value(v)}\n" for k, v in sorted(table.items()))


def _value(value: Any) -> str:
    """A TOML value on one line. TypeError for what no spec takes."""
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, (int, float)):
        return repr(value)
    if isinstance(value, str):
        return text_of(value)
    if isinstance(value, list):
        return f"[{', '.join(map(_value, value))}]"
    if isinstance(value, dict):
        inner = ", ".join(f"{key_of(k)} = {_value(v)}" for k, v in sorted(value.items()))
        return f"{{ {inner} }}" if inner else "{}"
    raise TypeError(f"a {type(value).__name__} is no setting")


def text_of(value: str) -> str:
    """A TOML basic string: JSON's escapes, and DEL, which TOML wants escaped too."""
    return json.dumps(value, ensure_ascii=False).replace("\x7f", "\\u007f")


def key_of(name: str) -> str:
    return name if _BARE.match(name) else text_of(name)


def save_lock(lock: Lock, path: str | os.PathLike[str]) -> bool:
    """Write the lock atomically (temporary file, fsync, rename); False, and no write, if the bytes are equal."""
    target = Path(path)
    data = dump_lock(lock).encode()
    with contextlib.suppress(FileNotFoundError):
        if target.read_bytes() == data:
            return False
    temporary = target.with_name(f".{target.name}.{os.getpid()}.tmp")
    try:
        with open(temporary, "wb") as f:
            f.write(data)
            f.flush()
            os.fsync(f.fileno())
        os.replace(temporary, target)
    finally:
        temporary.unlink(missing_ok=True)
    folder = os.open(target.parent, os.O_RDONLY | os.O_CLOEXEC)
    try:
        os.fsync(folder)
    finally:
        os.close(folder)
    return True
