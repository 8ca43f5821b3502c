"""`hf:org/name@revision#path`: files of a Hugging Face repository, pinned by commit and by sha256."""

from __future__ import annotations

import hashlib
import re
from pathlib import Path

from tunekit.errors import SourceError
from tunekit.hashing import sha256_file
from tunekit.lockfile import FileEntry, SourceBlock, block_of
from tunekit.sources.deliver import BLOCK, Place, Progress, deliver
from tunekit.sources.hub import Hub, Listed, Repository
from tunekit.sources.hub_files import path_in_repository, wanted
from tunekit.sources.locator import parse_locator
from tunekit.sources.several import several

_COMMIT = re.compile(r"[0-9a-f]{40}\Z")


def resolve(source: str, place: Place, progress: Progress) -> SourceBlock:
    """Pin a repository: branch or tag → commit, and size and sha256 of every file that is needed.

    The hub gives the sha256 of a large file; a small one (its name there is a git sha1) is fetched into the hub's cache
    and hashed. SourceError: those of `Hub` and of `hub_files.wanted`, `hash-mismatch`.
    """
    locator = parse_locator(source)
    hub = Hub(Repository.of(locator), source, place.offline, progress)
    commit = hub.commit(locator.revision)
    listed = {file.path: file for file in hub.listing(commit)}
    chosen = wanted(
        source,
        hub.repository.use,
        locator.fragment,
        sorted(listed),
        lambda path: _small(hub, commit, listed[path]).read_bytes(),
    )
    unknown = [listed[path] for path in sorted(set(chosen.values())) if not listed[path].sha256]
    digests = several(
        lambda file, tell: sha256_file(_small(hub.telling(tell), commit, file)),
        [(file, file.size) for file in unknown],
        progress,
    )
    known = {file.path: digest for file, digest in zip(unknown, digests, strict=True)}
    files = [
        FileEntry(name, listed[path].size, listed[path].sha256 or known[path]) for name, path in sorted(chosen.items())
    ]
    return block_of(source, commit, None, files)


def materialise(block: SourceBlock, out_dir: Path, place: Place, progress: Progress) -> None:
    """Write the block's files as they are at the locked commit: from the hub's cache, or fetched into it.

    SourceError: those of `Hub`, `bad-revision`, and `source-changed` where the bytes are not those of the lock.
    """
    locator = parse_locator(block.source)
    if not _COMMIT.match(block.revision):
        message = f"`{block.source}`: the lock's revision {block.revision!r} is not a commit"
        raise SourceError(message, slug="bad-revision", hint=f"`tunekit lock --upgrade {block.source}`")
    names = [file.path for file in block.files]
    hub = Hub(Repository.of(locator), block.source, place.offline, progress)

    def one(entry: FileEntry, tell: Progress) -> None:
        _deliver(hub.telling(tell), block, path_in_repository(locator.fragment, names, entry.path), entry, out_dir)

    several(one, [(entry, entry.size) for entry in block.files], progress)


def _deliver(hub: Hub, block: SourceBlock, path: str, entry: FileEntry, out_dir: Path) -> None:
    """One file. Bytes that are not those of the lock may be the cache's fault: then the hub is asked once more."""
    try:
        with hub.file(block.revision, path).open("rb") as stream:
            deliver(stream, entry, out_dir, f"`{block.source}`")
    except SourceError as e:
        if e.slug != "source-changed" or hub.offline:
            raise
        with hub.file(block.revision, path, again=True).open("rb") as stream:
            deliver(stream, entry, out_dir, f"`{block.source}`")


def _small(hub: Hub, commit: str, file: Listed) -> Path:
    """A file whose git name is known, in the cache, with the bytes that the name stands for."""
    for again in (False, True):
        found = hub.file(commit, file.path, again=again)
        if file.sha256 and sha256_file(found) == file.sha256:
            return found
        if not file.sha256 and _git_name(found) == file.git_name:
            return found
    message = f"`{hub.source}`: the hub serves other bytes for `{file.path}` than it lists"
    raise SourceError(message, slug="hash-mismatch", hint="nothing was locked; ask who runs the hub (HF_ENDPOINT)")


def _git_name(file: Path) -> str:
    """What git calls these bytes: sha1 of a header and them."""
    h = hashlib.sha1(b"blob %d\0" % file.stat().st_size, usedforsecurity=False)
    with file.open("rb") as f:
        while block := f.read(BLOCK):
            h.update(block)
    return h.hexdigest()
