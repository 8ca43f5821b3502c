"""Any URL that fsspec has a driver for (`s3://`, `gs://`, `sftp://`, …): a file, a folder or a glob of it.

Every used file is fetched once to be locked, and pinned by size and sha256. What the driver needs to know (keys, an
endpoint, `anon`) comes from its own environment and from fsspec's settings (`FSSPEC_S3_ANON=true`), never from TOML.
"""

from __future__ import annotations

from pathlib import Path

from tunekit.errors import SourceError
from tunekit.hashing import hex_of
from tunekit.lockfile import FileEntry, SourceBlock, block_of
from tunekit.sources.deliver import Place, Progress, deliver
from tunekit.sources.download import cached_archive
from tunekit.sources.fs_driver import Driver, Found
from tunekit.sources.locator import parse_locator
from tunekit.sources.several import AT_ONCE, several
from tunekit.sources.transfer import Pin, fetch


def resolve(source: str, place: Place, progress: Progress) -> SourceBlock:
    """Pin what is there now; the revision is the version or ETag of a single file, where the store has one.

    SourceError: those of `Driver` and of `transfer.fetch`, `offline`.
    """
    if place.offline:
        raise _offline(source, "is not locked yet")
    driver = Driver(source, parse_locator(source))
    chosen = sorted(driver.chosen().items())

    def get(item: tuple[str, Found], tell: Progress) -> FileEntry:
        name, found = item
        file, sha256 = fetch(
            driver.what(found.path), _name(source, found.path), driver.reader(found), place.cache, tell
        )
        return FileEntry(name, file.stat().st_size, sha256)

    items = [((name, found), found.size or 0) for name, found in chosen]
    files = several(get, items, progress, AT_ONCE if driver.is_threadsafe else 1)
    revision = chosen[0][1].version if len(chosen) == 1 else ""
    return block_of(source, revision, None, files)


def materialise(block: SourceBlock, out_dir: Path, place: Place, progress: Progress) -> None:
    """Write the block's files: from the cache, or fetched again. SourceError: as above, `source-changed`."""
    lacking = {entry for entry in block.files if cached_archive(place.cache, entry.sha256) is None}
    if lacking and place.offline:
        raise _offline(block.source, f"has files that are not in the cache ({min(lacking).path})")
    if lacking:
        driver = Driver(block.source, parse_locator(block.source))
        paths = driver.paths([entry.path for entry in block.files])

        def get(entry: FileEntry, tell: Progress) -> None:
            found = driver.look(paths[entry.path])
            name, pin = _name(block.source, found.path), Pin(entry.size, entry.sha256)
            fetch(driver.what(found.path), name, driver.reader(found), place.cache, tell, pin)

        items = [(entry, entry.size) for entry in sorted(lacking)]
        several(get, items, progress, AT_ONCE if driver.is_threadsafe else 1)
    for entry in block.files:
        with (place.cache / "archives" / hex_of(entry.sha256)).open("rb") as stream:
            deliver(stream, entry, out_dir, f"`{block.source}`")


def _name(source: str, path: str) -> str:
    """Of a file, for what has come of it so far."""
    return f"{source.partition(':')[0]}:{path}"


def _offline(source: str, why: str) -> SourceError:
    hint = "leave out --offline (or --frozen) once; what was fetched is kept in the cache"
    return SourceError(f"`{source}` {why}, and the network is not to be used", slug="offline", hint=hint)
