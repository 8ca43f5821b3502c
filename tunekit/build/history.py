"""`.tunekit/history.jsonl`: what was built when. Append-only; the one project file that cannot be rebuilt."""

from __future__ import annotations

import json
import os
import time
from pathlib import Path
from typing import Any


def path(root: Path) -> Path:
    return root / ".tunekit" / "history.jsonl"


def append(root: Path, label: str, record: dict[str, Any], how: str) -> None:
    """One line; a single write, so that two builds do not mix theirs."""
    line = {
        "t": round(time.time(), 3),
        "label": label,
        "key": record["key"],
        "attempt": record["attempt"],
        "outputs": record["outputs"],
        "how": how,
    }
    file = f"{root}/.tunekit/history.jsonl"
    flags = os.O_WRONLY | os.O_CREAT | os.O_APPEND | os.O_CLOEXEC
    try:
        fd = os.open(file, flags, 0o644)
    except FileNotFoundError:
        os.makedirs(os.path.dirname(file), exist_ok=True)
        fd = os.open(file, flags, 0o644)
    try:
        os.write(fd, json.dumps(line, sort_keys=True).encode() + b"\n")
    finally:
        os.close(fd)


def read(root: Path) -> list[dict[str, Any]]:
    """All lines, oldest first; a torn last line is passed over."""
    out = []
    try:
        lines = path(root).read_bytes().splitlines()
    except FileNotFoundError:
        return []
    for line in lines:
        try:
            out.append(json.loads(line))
        except ValueError:
            continue
    return out
