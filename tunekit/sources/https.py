"""`https://host/file#path/in/archive` (and `http:` of this machine): one file by URL, or files of an archive.

Pinned by size and sha256. The ETag is a hint, kept in the cache and not in the lock: servers behind one name give
different ones for the same bytes. With it, `lock --upgrade` of what did not change fetches nothing.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from tunekit.errors import SourceError
from tunekit.hashing import hex_of, sha256_bytes
from tunekit.lockfile import Archive, FileEntry, SourceBlock, block_of
from tunekit.sources.deliver import Place, Progress, changed, deliver
from tunekit.sources.download import cached_archive
from tunekit.sources.locator import Locator, parse_locator
from tunekit.sources.packed import deliver_packed, packed_block
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
    with _named(locator):
        return packed_block(source, "", archive, file, locator, is_package=False)


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
    if not locator.fragment:
        if [entry.path for entry in block.files] != [block.archive.name]:
            raise changed(f"`{block.source}`: the lock has other files of it than `{block.archive.name}`")
        with file.open("rb") as stream:
            deliver(stream, block.files[0], out_dir, f"`{block.source}`")
        return
    with _named(locator):
        deliver_packed(block, file, locator, out_dir, progress, is_package=False)


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


@contextmanager
def _named(locator: Locator) -> Iterator[None]:
    """What is wrong with an archive is said of its URL."""
    try:
        yield
    except SourceError as e:
        if e.slug.startswith("archive-"):
            raise SourceError(f"`{locator.name}`: {e.message}", slug=e.slug, hint="nothing of it was used") from e
        raise


def _offline(source: str, why: str) -> SourceError:
    hint = "leave out --offline (or --frozen) once; what was fetched is kept in the cache"
    return SourceError(f"`{source}` {why}, and the network is not to be used", slug="offline", hint=hint)
