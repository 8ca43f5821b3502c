"""A wheel or an sdist as data: its regular files, in order, read in blocks. Nothing is extracted or run.

Refused as a whole (`archive-unsafe`): absolute names, `..`, devices, links that lead out, two files of one name,
members that are not as long as they declare. `archive-too-large`: more than 20 GiB or 200,000 members.
A link that stays inside is only refused where it is wanted.
"""

from __future__ import annotations

import bz2
import gzip
import lzma
import posixpath
import stat
import tarfile
import zipfile
import zlib
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path
from typing import IO, Any, NamedTuple, TypeVar, cast

from tunekit.errors import SourceError
from tunekit.lockfile import bad_path

MAX_TOTAL = 20 << 30
MAX_MEMBERS = 200_000
_MAX_HEADER = 16 << 20
_MAX_DIRECTORY = 128 << 20  # of a zip, read as a whole: 600 bytes for each of the most members
_OPENERS: dict[str, Any] = {
    ".gz": gzip.open, ".tgz": gzip.open, ".bz2": bz2.open, ".tbz": bz2.open, ".xz": lzma.open, ".txz": lzma.open,
    ".tar": open, ".zst": lambda archive, mode: _Zstd(archive),
}  # fmt: skip
_BROKEN = (
    tarfile.TarError,
    zipfile.BadZipFile,
    zlib.error,
    lzma.LZMAError,
    EOFError,
    OSError,
    RuntimeError,
    ValueError,
)
T = TypeVar("T")


class Member(NamedTuple):
    """One file. `path`: as in the archive, an sdist's outermost folder removed. `open` is good until the next
    member is asked for."""

    path: str
    size: int
    is_link: bool
    open: Callable[[], Data]


class Data:
    """One member's bytes, as a context manager; what is broken in the archive is named as that."""

    def __init__(self, filename: str, opener: Callable[[], IO[bytes]]) -> None:
        self._filename = filename
        self._opener = opener
        self._stream: IO[bytes] | None = None

    def __enter__(self) -> Data:
        self._stream = self._guarded(self._opener)
        return self

    def __exit__(self, *exc: object) -> None:
        if self._stream is not None:
            self._stream.close()

    def read(self, size: int) -> bytes:
        assert self._stream is not None
        return self._guarded(partial(self._stream.read, size))

    def _guarded(self, call: Callable[[], T]) -> T:
        try:
            return call()
        except _BROKEN as e:
            raise _corrupt(self._filename, e) from e


def members_of(archive: Path, filename: str, *, is_package: bool = True, limit: int = 0) -> Iterator[Member]:
    """The files and links of an archive called `filename` (which says its format), in archive order. `is_package`:
    but for a wheel, everything is in one outermost folder, which says nothing. `limit`: bytes that they may have
    together (default: 20 GiB).

    SourceError: `archive-unsafe`, `archive-too-large`, `archive-corrupt`.
    """
    is_zip = filename.lower().endswith((".whl", ".zip"))
    raw = _of_zip(archive, filename) if is_zip else _of_tar(archive, filename)
    seen: set[str] = set()
    limit = limit or MAX_TOTAL
    total = 0
    try:
        for member in raw:
            total += member.size
            if total > limit or len(seen) >= MAX_MEMBERS:
                most = f"{limit / (1 << 30):.3g} GiB" if total > limit else f"{MAX_MEMBERS:,} files"
                raise SourceError(f"`{filename}` would unpack to more than {most}", slug="archive-too-large")
            if reason := bad_path(member.path):
                raise unsafe(filename, f"the name {member.path!r} {reason}")
            path = _below_top(member.path) if is_package and not filename.endswith(".whl") else member.path
            if path in seen:
                raise unsafe(filename, f"it holds `{path}` twice")
            seen.add(path)
            yield member._replace(path=path)
    except _BROKEN as e:
        raise _corrupt(filename, e) from e


def _corrupt(filename: str, e: Exception) -> SourceError:
    hint = "the package was published broken, or its index serves something else under this name"
    return SourceError(f"`{filename}` cannot be read as an archive: {e}", slug="archive-corrupt", hint=hint)


def unsafe(filename: str, why: str) -> SourceError:
    hint = "a package that is built so is not read; nothing of it was written"
    return SourceError(f"`{filename}`: {why}", slug="archive-unsafe", hint=hint)


def _below_top(path: str) -> str:
    """`name-1.0/a/b` → `a/b`: the folder that an sdist puts around everything."""
    _, slash, rest = path.partition("/")
    return rest if slash else path


def _of_zip(archive: Path, filename: str) -> Iterator[Member]:
    if _directory_size(archive) > _MAX_DIRECTORY:
        raise SourceError(f"`{filename}` has a directory of more than 128 MiB", slug="archive-too-large")
    with zipfile.ZipFile(archive) as z:
        for info in z.infolist():
            mode = info.external_attr >> 16
            kind = stat.S_IFMT(mode)
            if not info.filename:
                raise unsafe(filename, "it holds a file without a name")
            if kind not in (0, stat.S_IFREG, stat.S_IFDIR, stat.S_IFLNK):
                raise unsafe(filename, f"`{info.filename}` is a device")
            if info.is_dir() or kind == stat.S_IFDIR:
                if bad_path(info.filename.rstrip("/")):
                    raise unsafe(filename, f"the folder name {info.filename!r} leaves it")
                continue
            data = partial(Data, filename, partial(z.open, info))
            yield Member(info.orig_filename, info.file_size, kind == stat.S_IFLNK, data)


def _directory_size(archive: Path) -> int:
    """Bytes of a zip's directory, where zipfile will look for it; 0 if there is none."""
    with archive.open("rb") as stream:
        stream.seek(max(0, archive.stat().st_size - 65_535 - 22 - 76))
        tail = stream.read()
    short = tail[-22:-18] == b"PK\5\6" and tail[-2:] == b"\0\0"
    end = len(tail) - 22 if short else tail.rfind(b"PK\5\6")
    if end < 0:
        return 0
    if end >= 76 and tail[end - 20 : end - 16] == b"PK\6\7":  # zip64: its record lies before its locator
        return int.from_bytes(tail[end - 36 : end - 28], "little")
    return int.from_bytes(tail[end + 12 : end + 16], "little")


def _of_tar(archive: Path, filename: str) -> Iterator[Member]:
    opener = _OPENERS.get(Path(filename.lower()).suffix)
    if opener is None:
        raise SourceError(f"`{filename}` is not a kind of archive that is read", slug="archive-unsupported")
    with opener(archive, "rb") as stream:
        bounded = cast(IO[bytes], _Bounded(stream, filename))
        with tarfile.open(fileobj=bounded, mode="r:") as tar:
            yield from _of_open_tar(tar, filename)


def _of_open_tar(tar: tarfile.TarFile, filename: str) -> Iterator[Member]:
    for info in tar:
        name = info.name[2:] if info.name.startswith("./") else info.name
        if info.isdir():
            if name not in ("", ".") and bad_path(name):
                raise unsafe(filename, f"the folder name {name!r} leaves it")
            continue
        if info.islnk() or info.issym():
            _check_link(info, name, filename)
        elif not info.isreg() or info.issparse():
            raise unsafe(filename, f"`{name}` is not a plain file (type {info.type!r})")
        data = partial(Data, filename, cast(Callable[[], IO[bytes]], partial(tar.extractfile, info)))
        yield Member(name, info.size, not info.isreg(), data)


def _check_link(info: tarfile.TarInfo, name: str, filename: str) -> None:
    start = posixpath.dirname(name) if info.issym() else ""
    target = posixpath.normpath(posixpath.join(start, info.linkname))
    if target.startswith("/") or target == ".." or target.startswith("../"):
        raise unsafe(filename, f"`{name}` is a link that leads out of it")


class _Bounded:
    """A decompressed stream that a lying header cannot make us read into memory at once."""

    def __init__(self, stream: IO[bytes], filename: str) -> None:
        self._stream = stream
        self._filename = filename
        self.seek = stream.seek
        self.tell = stream.tell

    def read(self, size: int = -1) -> bytes:
        if size < 0 or size > _MAX_HEADER:
            raise SourceError(f"`{self._filename}` has a header of {size} bytes", slug="archive-too-large")
        return self._stream.read(size)


class _Zstd:
    """A zstd file as tar wants it: read from front to back, skipping forward."""

    def __init__(self, archive: Path) -> None:
        import pyarrow  # which is there anyway, and costs too much to load for whoever does not ask

        self._stream = pyarrow.CompressedInputStream(pyarrow.OSFile(str(archive)), "zstd")
        self._at = 0

    def __enter__(self) -> _Zstd:
        return self

    def __exit__(self, *exc: object) -> None:
        self._stream.close()

    def read(self, size: int) -> bytes:
        block: bytes = self._stream.read(size)
        self._at += len(block)
        return block

    def tell(self) -> int:
        return self._at

    def seek(self, position: int) -> int:
        """Raises OSError for a place that has been read."""
        if position < self._at:
            raise OSError("a compressed archive is read from front to back")
        while self._at < position and self.read(min(position - self._at, _MAX_HEADER)):
            pass
        return self._at
