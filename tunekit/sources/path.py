"""`path:`: files of the project, which version control pins, and with `pin = true` files outside of it, which the lock
pins. Which they are: `files`."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path

from tunekit.hashing import sha256_file
from tunekit.lockfile import FileEntry, SourceBlock, block_of
from tunekit.sources.deliver import Place, Progress, changed, deliver
from tunekit.sources.files import files_of_path

HashFile = Callable[[str], str]


def tree_of_path(source: str, root: str | os.PathLike[str], hash_file: HashFile = sha256_file) -> list[FileEntry]:
    """The files behind `source` (`path:…`), sorted. `hash_file` gets an absolute path and returns `sha256:…`.

    SourceError: `path-outside-project`, `missing-file`, `not-a-file`.
    """
    out = []
    for name, file in files_of_path(source, root):
        size = file.stat().st_size
        out.append(FileEntry(name, size, hash_file(str(file))))
    return out


def resolve_path(source: str, root: Path, hash_file: HashFile = sha256_file) -> SourceBlock:
    """The block of what is there now."""
    return block_of(source, "", None, tree_of_path(source, root, hash_file))


def resolve(source: str, place: Place, progress: Progress) -> SourceBlock:
    """`resolve_path`, which says how far it is. SourceError: those of `files_of_path`."""
    total = sum(file.stat().st_size for _, file in files_of_path(source, place.root))
    done = 0

    def hash_file(path: str) -> str:
        nonlocal done
        sha256 = sha256_file(path)
        done += os.stat(path).st_size
        progress(min(done, total), total, "bytes")
        return sha256

    return resolve_path(source, place.root, hash_file)


def materialise(block: SourceBlock, out_dir: Path, place: Place, progress: Progress) -> None:
    """Copy the block's files. SourceError `source-changed` if one is gone or has other bytes."""
    found = dict(files_of_path(block.source, place.root))
    total = sum(f.size for f in block.files)
    done = 0
    for entry in block.files:
        if entry.path not in found:
            raise changed(f"`{block.source}`: `{entry.path}` is gone")
        with found[entry.path].open("rb") as stream:
            deliver(stream, entry, out_dir, f"`{block.source}`")
        done += entry.size
        progress(done, total, "bytes")
