"""`git:URL@ref#path`: files of a repository at one commit, read from git's objects and never checked out."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

from tunekit.errors import SourceError, nearest
from tunekit.lockfile import FileEntry, SourceBlock, bad_path, block_of
from tunekit.sources.deliver import Place, Progress, Readable, changed, deliver, digest_stream
from tunekit.sources.git_repository import COMMIT, Entry, GitRepository
from tunekit.sources.git_run import Blob, GitFailed
from tunekit.sources.locator import Locator, parse_locator
from tunekit.sources.select import is_glob, name_in_artifact

_PLAIN = ("100644", "100755", "100664")
_POINTER = b"version https://git-lfs.github.com/spec/"
_POINTER_SIZE = 1024


def resolve(source: str, place: Place, progress: Progress) -> SourceBlock:
    """Pin a repository: branch or tag → commit, and size and sha256 of every file that is named.

    SourceError: those of `GitRepository`, `missing-file`, `not-a-file` (links, submodules), `lfs-pointer`.
    """
    locator = parse_locator(source)
    repository = GitRepository(source, locator.name, place.cache, place.offline, progress)
    commit = repository.commit(locator.revision)
    repository.fetch(commit)
    chosen = _chosen(source, locator, repository.listing(commit))
    files = []
    with _bytes_of(repository, commit, chosen) as opened:
        for name, entry in sorted(chosen.items()):
            blob, stream = opened(entry)
            files.append(FileEntry(name, blob.size, digest_stream(stream, blob.size, f"`{entry.path}`")))
    return block_of(source, commit, None, files)


def materialise(block: SourceBlock, out_dir: Path, place: Place, progress: Progress) -> None:
    """Write the block's files as they are at the locked commit. SourceError: as above, `bad-revision`,
    `source-changed`."""
    locator = parse_locator(block.source)
    if not COMMIT.match(block.revision):
        message = f"`{block.source}`: the lock's revision {block.revision!r} is not a commit"
        raise SourceError(message, slug="bad-revision", hint=f"`tunekit lock --upgrade {block.source}`")
    repository = GitRepository(block.source, locator.name, place.cache, place.offline, progress)
    try:
        repository.fetch(block.revision)
    except SourceError as e:
        if e.slug == "commit-not-found":
            now = repository.where_now(locator.revision)
            message = f"`{block.source}` has the locked commit {block.revision} no more{now}"
            raise SourceError(message, slug=e.slug, hint=e.hint) from e
        raise
    chosen = _chosen(block.source, locator, repository.listing(block.revision))
    if lost := sorted({entry.path for entry in block.files} - set(chosen)):
        raise changed(f"`{block.source}`: `{lost[0]}` is not in the locked commit")
    with _bytes_of(repository, block.revision, {entry.path: chosen[entry.path] for entry in block.files}) as opened:
        for entry in block.files:
            _, stream = opened(chosen[entry.path])
            deliver(stream, entry, out_dir, f"`{block.source}`")


class _Opened:
    """What `_bytes_of` gives: an entry's size and its bytes."""

    def __init__(self, source: str, ask: Callable[[str], Blob]) -> None:
        self._source = source
        self._ask = ask

    def __call__(self, entry: Entry) -> tuple[Blob, Readable]:
        blob = self._ask(entry.object)
        if blob.size > _POINTER_SIZE:
            return blob, blob
        data = blob.read(blob.size)
        if data.startswith(_POINTER):
            message = f"`{self._source}`: `{entry.path}` is a pointer of git LFS, not the file itself"
            hint = "LFS is not spoken: use `https:` with the file's own URL, `hf:` for a hub, or `path:`"
            raise SourceError(message, slug="lfs-pointer", hint=hint)
        return blob, _Held(data)


class _Held:
    """A small file that was read already."""

    def __init__(self, data: bytes) -> None:
        self._data = data

    def read(self, size: int, /) -> bytes:
        out, self._data = self._data[:size], self._data[size:]
        return out


@contextmanager
def _bytes_of(repository: GitRepository, commit: str, chosen: dict[str, Entry]) -> Iterator[_Opened]:
    try:
        with repository.files(commit, [entry.object for _, entry in sorted(chosen.items())]) as ask:
            yield _Opened(repository.source, ask)
    except GitFailed as e:
        message = f"`{repository.source}`: the cache in {repository.folder} is damaged ({e})"
        raise SourceError(message, slug="source-cache", hint="delete that folder and try again") from e


def _chosen(source: str, locator: Locator, entries: list[Entry]) -> dict[str, Entry]:
    """Name in the artifact → entry. In folders, names that start with a dot are left out, as for `path:`."""
    fragment = locator.fragment
    found = {}
    for entry in entries:
        name = name_in_artifact(entry.path, fragment)
        hidden = not is_glob(fragment) and entry.path != fragment and any(p.startswith(".") for p in name.split("/"))
        if not name or hidden:
            continue
        if reason := bad_path(entry.path):
            message = f"`{source}`: file name {entry.path!r} {reason}"
            raise SourceError(message, slug="path-outside-project", hint="name other files after `#`")
        if entry.mode not in _PLAIN:
            what = {"120000": "a link", "160000": "a submodule"}.get(entry.mode, f"of mode {entry.mode}")
            message = f"`{source}`: `{entry.path}` is {what}, which is not followed"
            raise SourceError(message, slug="not-a-file", hint="name other files after `#`")
        found[name] = entry
    if not found:
        paths = [entry.path for entry in entries if not bad_path(entry.path)]
        folders = {path[:i] for path in paths for i, c in enumerate(path) if c == "/"}
        close = nearest(fragment, [*sorted(folders), *paths])
        holds = "it holds " + (", ".join(sorted(paths)[:8]) or "no files") + (" …" if len(paths) > 8 else "")
        hint = close if close.startswith("did") else holds
        message = f"`{source}`: nothing in the repository matches `{fragment or '(everything)'}`"
        raise SourceError(message, slug="missing-file", hint=hint)
    return found
