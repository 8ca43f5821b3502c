"""Sources whose files lie in one archive: which of them a source means, as a lock's block, and written out again."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

from tunekit.errors import SourceError, nearest
from tunekit.lockfile import Archive, FileEntry, SourceBlock, block_of
from tunekit.sources.archive import Member, members_of, unsafe
from tunekit.sources.deliver import Progress, changed, deliver, digest_stream
from tunekit.sources.locator import Locator
from tunekit.sources.select import name_in_artifact


def packed_block(
    source: str, revision: str, archive: Archive, file: Path, locator: Locator, *, is_package: bool = True
) -> SourceBlock:
    """The block of the files that the fragment means. `file` holds the archive's bytes; `is_package`: as in
    `members_of`. SourceError `missing-file`, and those of `archive`."""
    files = []
    for member, name in _selected(file, archive.name, locator, is_package):
        with member.open() as stream:
            sha256 = digest_stream(stream, member.size, f"`{member.path}` in `{archive.name}`")
        files.append(FileEntry(name, member.size, sha256))
    if not files:
        raise _nothing(source, file, archive.name, locator, is_package)
    return block_of(source, revision, archive, files)


def deliver_packed(
    block: SourceBlock, file: Path, locator: Locator, out_dir: Path, progress: Progress, *, is_package: bool = True
) -> None:
    """The block's files out of its archive, which is `file`. SourceError `source-changed`, and those of `archive`."""
    assert block.archive is not None
    wanted = {f.path: f for f in block.files}
    total = sum(f.size for f in block.files)
    done = 0
    for member, name in _selected(file, block.archive.name, locator, is_package):
        if (entry := wanted.pop(name, None)) is None:
            continue
        with member.open() as stream:
            deliver(stream, entry, out_dir, f"`{block.source}`")
        done += entry.size
        progress(done, total, "bytes")
    if wanted:
        raise changed(f"`{block.source}`: `{min(wanted)}` is not in `{block.archive.name}`")


def _selected(file: Path, filename: str, locator: Locator, is_package: bool) -> Iterator[tuple[Member, str]]:
    """Members that the fragment means, with their names in the artifact; the whole archive is checked."""
    for member in members_of(file, filename, is_package=is_package):
        name = name_in_artifact(member.path, locator.fragment)
        if name and member.is_link:
            raise unsafe(filename, f"`{member.path}` is a link, and links are not followed: name other files after `#`")
        if name:
            yield member, name


def _nothing(source: str, file: Path, filename: str, locator: Locator, is_package: bool) -> SourceError:
    paths = sorted({m.path for m in members_of(file, filename, is_package=is_package)})
    folders = {path[:i] for path in paths for i, c in enumerate(path) if c == "/"}
    close = nearest(locator.fragment, [*folders, *paths])
    hint = close if close.startswith("did") else "it holds " + ", ".join(paths[:8]) + (" …" if len(paths) > 8 else "")
    message = f"`{source}`: nothing in `{filename}` matches `{locator.fragment}`"
    return SourceError(message, slug="missing-file", hint=hint)
