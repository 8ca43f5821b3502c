"""The archive of a bundle: which files, and how they are put into a tar of the same bytes every time."""

from __future__ import annotations

import gzip
import hashlib
import io
import os
import tarfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import IO, NamedTuple, cast

from tunekit.errors import StoreError, UsageError
from tunekit.hashing import sha256_file

SCHEMA = "tunekit/bundle-file/1"
TOP = "bundle"
FIRST = "bundle.json"
SUFFIXES = (".tar", ".tar.gz", ".tar.zst")


class Member(NamedTuple):
    """One file of the archive, where its bytes are, and what they must be."""

    path: str
    size: int
    sha256: str
    origin: Path | bytes


def suffix_of(name: str) -> str:
    """The kind of archive that a file's name asks for. UsageError `archive-unsupported`."""
    found = next((s for s in SUFFIXES if name.endswith(s)), "")
    if not found:
        hint = "its name ends in " + ", ".join(SUFFIXES)
        raise UsageError(f"`{name}` is not a kind of archive that bundles are", slug="archive-unsupported", hint=hint)
    return found


def write_archive(target: Path, members: list[Member]) -> str:
    """Write them, the head first; sha256 of the archive. It appears under its name when it is whole and on the disk."""
    spare = target.with_name(f".{target.name}.{os.getpid()}")
    try:
        with _new(spare, suffix_of(target.name)) as out:
            _write_tar(out, members)
        fd = os.open(spare, os.O_RDONLY | os.O_CLOEXEC)
        try:
            os.fsync(fd)
        finally:
            os.close(fd)
        digest = sha256_file(spare)
        os.replace(spare, target)
    finally:
        spare.unlink(missing_ok=True)
    return digest


@contextmanager
def _new(path: Path, suffix: str) -> Iterator[IO[bytes]]:
    """A new file, compressed as its name will say."""
    if suffix == ".tar.zst":
        import pyarrow  # which reads and writes zstd, and is there anyway

        with pyarrow.CompressedOutputStream(str(path), "zstd") as out:
            yield out
        return
    with open(path, "wb") as raw:
        if suffix == ".tar":
            yield raw
            return
        with gzip.GzipFile(filename="", mode="wb", fileobj=raw, compresslevel=6, mtime=0) as packed:
            yield cast(IO[bytes], packed)


def _write_tar(out: IO[bytes], members: list[Member]) -> None:
    with tarfile.open(fileobj=out, mode="w|", format=tarfile.PAX_FORMAT) as tar:
        for member in members:
            info = tarfile.TarInfo(f"{TOP}/{member.path}")
            info.size, info.mode = member.size, 0o644  # mtime, uid, gid are 0 and names empty as they come
            with _bytes_of(member) as stream:
                tar.addfile(info, cast(IO[bytes], stream))
                stream.check()


class _Checked:
    """A member's bytes on their way into the archive: what was edited since it was listed is not shipped."""

    def __init__(self, stream: IO[bytes], member: Member) -> None:
        self._stream = stream
        self._member = member
        self._hash = hashlib.sha256()

    def read(self, size: int = -1) -> bytes:
        block = self._stream.read(size)
        self._hash.update(block)
        if len(block) < size:
            self.check()
        return block

    def check(self) -> None:
        if f"sha256:{self._hash.hexdigest()}" != self._member.sha256:
            path = self._member.path
            message = f"{path} is not what it was a moment ago"
            hint = "tunekit verify" if path.startswith("objects/") else "bundle again"
            raise StoreError(message, slug="edited", hint=hint)


@contextmanager
def _bytes_of(member: Member) -> Iterator[_Checked]:
    with io.BytesIO(member.origin) if isinstance(member.origin, bytes) else open(member.origin, "rb") as stream:
        yield _Checked(cast(IO[bytes], stream), member)
