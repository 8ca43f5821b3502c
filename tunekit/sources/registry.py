"""The two verbs of every source. A scheme is the module of its name here, and its place in `locator.WORKING`; what is
neither `http` nor there is fsspec's."""

from __future__ import annotations

import importlib
import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

from tunekit.lockfile import SourceBlock
from tunekit.sources.deliver import Place, Progress, no_progress, no_warning
from tunekit.sources.locator import WORKING, parse_locator

StrPath = str | os.PathLike[str]


def resolve(
    source: str, *, root: StrPath, cache: StrPath, offline: bool = False, progress: Progress = no_progress,
    warn: Callable[[str], None] = no_warning,
) -> SourceBlock:  # fmt: skip
    """Pin `source`: its revision, every used file with size and sha256, and the digest of the artifact they make.

    `root`, `cache`, `offline`, `warn`: as in `Place`. SourceError with a slug for everything that can go wrong.
    """
    found: SourceBlock = _room(source).resolve(source, Place(Path(root), Path(cache), offline, warn), progress)
    return found


def materialise(
    block: SourceBlock,
    out_dir: StrPath,
    *,
    root: StrPath,
    cache: StrPath,
    offline: bool = False,
    progress: Progress = no_progress,
) -> None:
    """Write exactly `block.files` into `out_dir` (made if missing), each verified by sha256.

    SourceError `source-changed` if the bytes are not those of the block; then `out_dir` is not to be used.
    """
    out = Path(out_dir)
    out.mkdir(parents=True, exist_ok=True)
    _room(block.source).materialise(block, out, Place(Path(root), Path(cache), offline), progress)


def _room(source: str) -> Any:
    scheme = parse_locator(source).scheme
    module = "https" if scheme == "http" else scheme if scheme in WORKING else "fs"
    return importlib.import_module(f"tunekit.sources.{module}")
