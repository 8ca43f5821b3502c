"""The two verbs of every source, by scheme."""

from __future__ import annotations

import os
from pathlib import Path

from tunekit.lockfile import SourceBlock
from tunekit.sources.deliver import Progress, no_progress
from tunekit.sources.locator import parse_locator
from tunekit.sources.path import materialise_path, resolve_path

StrPath = str | os.PathLike[str]


def resolve(
    source: str, *, root: StrPath, cache: StrPath, offline: bool = False, progress: Progress = no_progress
) -> SourceBlock:
    """Pin `source`: its revision, every used file with size and sha256, and the digest of the artifact they make.

    A package is downloaded (into `<cache>/archives`) if the cache does not have it; a hub's files go into the hub's
    own cache. `root` is the project, the
    only place `path:` reads from. SourceError with a slug for everything that can go wrong.
    """
    scheme = parse_locator(source).scheme
    if scheme == "path":
        return resolve_path(source, Path(root))
    if scheme == "hf":
        from tunekit.sources.hf import resolve_hf

        return resolve_hf(source, offline, progress)
    from tunekit.sources.pypi import resolve_pypi

    return resolve_pypi(source, Path(cache), offline, progress)


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
    scheme = parse_locator(block.source).scheme
    if scheme == "path":
        materialise_path(block, out, Path(root), progress)
        return
    if scheme == "hf":
        from tunekit.sources.hf import materialise_hf

        materialise_hf(block, out, offline, progress)
        return
    from tunekit.sources.pypi import materialise_pypi

    materialise_pypi(block, out, Path(cache), offline, progress)
