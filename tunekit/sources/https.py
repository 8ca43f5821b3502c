"""`https://host/file#path/in/archive` (and `http:` of this machine): one file by URL, or files of an archive.

Pinned by size and sha256. The ETag is a hint, kept in the cache and not in the lock: servers behind one name give
different ones for the same bytes. With it, `lock --upgrade` of what did not change fetches nothing.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from pathlib import Path

from tunekit.errors import SourceError, nearest
from tunekit.hashing import hex_of, sha256_bytes
from tunekit.lockfile import Archive, FileEntry, SourceBlock, block_of
from tunekit.sources.archive import Data, members_of, unsafe
from tunekit.sources.deliver import Place, Progress, changed, deliver, digest_stream
from tunekit.sources.download import cached_archive
from tunekit.sources.locator import Locator, parse_locator
from tunekit.sources.select import name_in_artifact
from tunekit.sources.transfer import Again, Pin, fetch
from tunekit.sources.urls import file_name
from tunekit.sources.web import Web

ARCHIVES = (".zip", ".whl", ".tar", ".tar.gz", ".tgz", ".tar.bz2", ".tbz", ".tar.xz", ".txz")


def resolve(source: str, place: Place, progress: Progress) -> SourceBlock:
    """Pin what is there now. SourceError: those of `Web`, `transfer.fetch` and `archive`, `not-an-archive`, `offline`,
    `missing-file`."""
    locator = parse_locator(source)
    name = file_name(locator.name)
    if locator.fragment and not name.lower().endswith(ARCHIVES):
        hint = f"leave out `#{locator.fragment}` for the file itself; archives are {', '.join(ARCHIVES)}"
        raise SourceError(f"`{source}`: `{name}` is not an archive by its name", slug="not-an-archive", hint=hint)
    if place.offline:
        raise _offline(source, "is not locked yet")
    file, sha256 = _present(source, locator, place, progress)
    archive = Archive(name, file.stat().st_size, sha256)
    if not locator.fragment:
        return block_of(source, "", archive, [FileEntry(*archive)])
    files = []
    for path, artifact_name, size, opened in _members(file, name, locator):
        with opened() as stream:
            files.append(FileEntry(artifact_name, size, digest_stream(stream, size, f"`{path}` in `{name}`")))
    if not files:
        raise _nothing(source, file, name, locator)
    return block_of(source, "", archive, files)


def materialise(block: SourceBlock, out_dir: Path, place: Place, progress: Progress) -> None:
    """Write the block's files from the pinned file: the cache's, or fetched again. SourceError: `source-changed`, …"""
    locator = parse_locator(block.source)
    if block.archive is None:
        hint = f"`tunekit lock --upgrade {block.source}`"
        raise SourceError(f"`{block.source}` has no file in the lock", slug="source-changed", hint=hint)
    pinned = Pin(block.archive.size, block.archive.sha256)
    file = cached_archive(place.cache, pinned.sha256)
    if file is None:
        if place.offline:
            raise _offline(block.source, "is not in the cache")
        what, url = f"`{block.source}`", locator.name
        with Web(block.source, url) as web:
            file, _ = fetch(what, url, web.ask, place.cache, progress, pinned)
    wanted = {entry.path: entry for entry in block.files}
    if not locator.fragment:
        with file.open("rb") as stream:
            deliver(stream, wanted.pop(block.archive.name), out_dir, f"`{block.source}`")
    else:
        for _, artifact_name, _, opened in _members(file, block.archive.name, locator):
            if (entry := wanted.pop(artifact_name, None)) is not None:
                with opened() as stream:
                    deliver(stream, entry, out_dir, f"`{block.source}`")
    if wanted:
        raise changed(f"`{block.source}`: `{min(wanted)}` is not in `{block.archive.name}`")


def _present(source: str, locator: Locator, place: Place, progress: Progress) -> tuple[Path, str]:
    """The file as it is now, and its digest. What the server says to be what the cache has is not fetched again."""
    hint = place.cache / "hints" / f"{hex_of(sha256_bytes(locator.name.encode()))}.json"
    with Web(source, locator.name) as web:
        etag, sha256 = _hint(hint)
        if etag and (file := cached_archive(place.cache, sha256)) and _is_still(web, etag):
            return file, sha256
        file, sha256 = fetch(f"`{source}`", locator.name, web.ask, place.cache, progress)
        if web.stamp:
            hint.parent.mkdir(parents=True, exist_ok=True)
            hint.write_text(json.dumps({"etag": web.stamp, "sha256": sha256}))
        else:
            hint.unlink(missing_ok=True)
    return file, sha256


def _hint(file: Path) -> tuple[str, str]:
    """ETag and digest of what was last fetched from a URL."""
    try:
        body = json.loads(file.read_text())
        hex_of(body["sha256"])
        return str(body["etag"]), str(body["sha256"])
    except (OSError, ValueError, KeyError, TypeError):  # a hint: there is none, or it was torn
        return "", ""


def _is_still(web: Web, etag: str) -> bool:
    try:
        return web.is_still(etag)
    except Again:  # said again, and with patience, by the download
        return False


def _members(file: Path, name: str, locator: Locator) -> Iterator[tuple[str, str, int, Callable[[], Data]]]:
    """Files that the fragment means: path in the archive, name in the artifact, size, how to open them."""
    try:
        for member in members_of(file, name, is_package=False):
            wanted = name_in_artifact(member.path, locator.fragment)
            if wanted and member.is_link:
                why = f"`{member.path}` is a link, and links are not followed: name other files after `#`"
                raise unsafe(name, why)
            if wanted:
                yield member.path, wanted, member.size, member.open
    except SourceError as e:
        if e.slug.startswith("archive-"):
            raise SourceError(f"`{locator.name}`: {e.message}", slug=e.slug, hint="nothing of it was used") from e
        raise


def _nothing(source: str, file: Path, name: str, locator: Locator) -> SourceError:
    paths = sorted({path for path, *_ in _members(file, name, locator._replace(fragment=""))})
    folders = {path[:i] for path in paths for i, c in enumerate(path) if c == "/"}
    close = nearest(locator.fragment, [*folders, *paths])
    hint = close if close.startswith("did") else "it holds " + ", ".join(paths[:8]) + (" …" if len(paths) > 8 else "")
    message = f"`{source}`: nothing in `{name}` matches `{locator.fragment}`"
    return SourceError(message, slug="missing-file", hint=hint)


def _offline(source: str, why: str) -> SourceError:
    hint = "leave out --offline once; what was fetched is kept in the cache"
    return SourceError(f"`{source}` {why}, and the network is not to be used", slug="offline", hint=hint)
