"""One file of an index into `<cache>/archives/<sha256>`: verified, complete, or not there at all."""

from __future__ import annotations

import contextlib
import hashlib
import os
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING

from tunekit.errors import SourceError
from tunekit.hashing import PREFIX, hex_of, sha256_file
from tunekit.sources.deliver import BLOCK, Progress

if TYPE_CHECKING:
    from unearth import Link
    from unearth.fetchers import PyPIClient

TRIES = 3
RETRY_AFTER = 0.1  # seconds, times four each time
MAX_ARCHIVE = 20 << 30
_STRONGEST_FIRST = ("sha512", "sha384", "sha256", "sha224", "sha1", "md5")
_DAY = 86400


def cached_archive(cache: Path, sha256: str) -> Path | None:
    """The archive with this digest, if the cache has it whole; a damaged one is removed."""
    file = cache / "archives" / hex_of(sha256)
    if not file.is_file():
        return None
    if sha256_file(file) == sha256:
        return file
    file.unlink(missing_ok=True)
    return None


def published_sha256(link: Link) -> str:
    """The sha256 that the index gives for a file, as `sha256:…`; "" if it gives none that could be one."""
    digest = PREFIX + _published(link).get("sha256", "")
    try:
        hex_of(digest)
    except ValueError:
        return ""
    return digest


def _published(link: Link) -> dict[str, str]:
    given = link.hash_option or {}
    return {name.lower(): values[0].lower() for name, values in given.items() if values and values[0]}


def download(link: Link, client: PyPIClient, cache: Path, progress: Progress, sha256: str = "") -> tuple[Path, str]:
    """Fetch a file and return where it is and its digest. `sha256`: what it must be, from the lock.

    Tried three times if the connection breaks. SourceError: `hash-mismatch` (it is not what the index says),
    `source-changed` (it is not what the lock says), `download-failed`, `archive-too-large`.
    """
    archives = cache / "archives"
    archives.mkdir(parents=True, exist_ok=True)
    _sweep(archives)
    with _part(archives) as part:
        size, digests = _with_retries(link, client, part, progress)
        _compare(link, digests, sha256)
        target = archives / digests["sha256"]
        os.chmod(part, 0o444)
        os.replace(part, target)
    progress(size, size, "bytes")
    return target, PREFIX + digests["sha256"]


def _sweep(archives: Path) -> None:
    """Remove what a killed download left more than a day ago."""
    for part in archives.glob("part-*"):
        with contextlib.suppress(OSError):
            if time.time() - part.stat().st_mtime > _DAY:
                part.unlink()


@contextlib.contextmanager
def _part(archives: Path) -> Iterator[Path]:
    fd, name = tempfile.mkstemp(prefix="part-", dir=archives)
    os.close(fd)
    try:
        yield Path(name)
    finally:
        Path(name).unlink(missing_ok=True)


def _with_retries(link: Link, client: PyPIClient, part: Path, progress: Progress) -> tuple[int, dict[str, str]]:
    import httpx2

    for attempt in range(1, TRIES + 1):
        try:
            return _once(link, client, part, progress)
        except (httpx2.HTTPError, httpx2.InvalidURL, OSError) as e:
            status = e.response.status_code if isinstance(e, httpx2.HTTPStatusError) else 0
            hopeless = 400 <= status < 500 and status not in (408, 429)
            if hopeless or attempt == TRIES:
                why = f"HTTP status {status}" if status else f"{type(e).__name__}: {e}"
                message = f"`{link.filename}` could not be downloaded from {link.redacted} ({why})"
                hint = "the index lists it but does not serve it" if hopeless else f"tried {attempt} times; try again"
                raise SourceError(message, slug="download-failed", hint=hint) from e
            time.sleep(RETRY_AFTER * 4**attempt)
    raise AssertionError("unreachable")


def _once(link: Link, client: PyPIClient, part: Path, progress: Progress) -> tuple[int, dict[str, str]]:
    """Stream the file into `part`, hashing as it comes: (bytes, digests by algorithm)."""
    names = {"sha256", *(n for n in _published(link) if n in _STRONGEST_FIRST)}
    hashers = {name: hashlib.new(name, usedforsecurity=False) for name in names}
    done = 0
    with client.get_stream(link.normalized) as response, part.open("wb") as f:
        response.raise_for_status()
        length = response.headers.get("Content-Length", "")
        total = int(length) if length.isdecimal() else 0
        for block in response.iter_bytes(BLOCK):
            done += len(block)
            if max(done, total) > MAX_ARCHIVE:
                raise SourceError(f"`{link.filename}` is larger than 20 GiB", slug="archive-too-large")
            for h in hashers.values():
                h.update(block)
            f.write(block)
            progress(min(done, total), total, "bytes")
        f.flush()
        os.fsync(f.fileno())
    return done, {name: h.hexdigest() for name, h in hashers.items()}


def _compare(link: Link, digests: dict[str, str], sha256: str) -> None:
    published = _published(link)
    strongest = next((n for n in _STRONGEST_FIRST if n in published), "")
    if strongest and digests[strongest] != published[strongest]:
        message = (
            f"`{link.filename}` from {link.redacted} is not the file that the index lists "
            f"({strongest} {digests[strongest][:12]}…, listed {published[strongest][:12]}…)"
        )
        raise SourceError(message, slug="hash-mismatch", hint="nothing was kept; ask who runs the index")
    if sha256 and PREFIX + digests["sha256"] != sha256:
        message = f"`{link.filename}` from {link.redacted} is not the file that the lock pins"
        hint = "the index now serves other bytes under this name: find out why before you run `tunekit lock`"
        raise SourceError(message, slug="source-changed", hint=hint)
