"""A file as a stream of bytes in UTF-8: plain, gzip or zstd, in any encoding that is named."""

from __future__ import annotations

import codecs
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Protocol

import pyarrow as pa

from tunekit.data.readers.blocks import STEP
from tunekit.errors import ActionError

_CODECS = {".gz": "gzip", ".zst": "zstd", ".zstd": "zstd"}
_MAGIC = {b"\x1f\x8b\x08": "gzip", b"\x28\xb5\x2f\xfd": "zstd"}
_BOM = b"\xef\xbb\xbf"
_PIECE = 1 << 12  # bytes unpacked at a time: what a torn stream takes with it (zstd: a block)


class Torn(Exception):
    """The stream ends before its time, or is not what its name says."""


class Stream(Protocol):
    def read(self, size: int, /) -> bytes: ...


def codec_of(name: str) -> str:
    """`gzip`, `zstd` or nothing, by the file's name."""
    return _CODECS.get(Path(name).suffix.lower(), "")


def bare(name: str) -> str:
    """The name without what says how the file is compressed."""
    return name[: -len(Path(name).suffix)] if codec_of(name) else name


@contextmanager
def open_stream(name: str, path: Path, encoding: str) -> Iterator[Stream]:
    """The file's text as UTF-8, without the mark (BOM) that it may begin with.

    UTF-8 itself is not checked here. Raises ActionError (`bad-file`) for a compressed file whose name does not say so;
    `read` raises Torn, OSError and UnicodeError.
    """
    with open(path, "rb", buffering=0) as file:
        magic = file.read(4)
        file.seek(0)
        codec = codec_of(name)
        found = next((c for m, c in _MAGIC.items() if magic.startswith(m)), "")
        if found and found != codec:
            raise ActionError(f"{name} is a {found} file", slug="bad-file", hint="its name must end in .gz or .zst")
        stream: Stream = _Unpacked(pa.CompressedInputStream(file, codec)) if codec else file
        yield _Marked(stream if codecs.lookup(encoding).name == "utf-8" else _Decoded(stream, encoding))


class _Unpacked:
    def __init__(self, stream: Stream) -> None:
        self._stream = stream
        self._torn: Torn | None = None

    def read(self, size: int, /) -> bytes:
        if self._torn:
            raise self._torn
        pieces: list[bytes] = []
        try:
            while size and (piece := self._stream.read(min(size, _PIECE))):
                pieces.append(piece)
                size -= len(piece)
        except (OSError, pa.ArrowException) as e:
            self._torn = Torn(str(e))
            if not pieces:
                raise self._torn from e
        return b"".join(pieces)


class _Decoded:
    def __init__(self, stream: Stream, encoding: str) -> None:
        self._stream = stream
        self._decoder = codecs.getincrementaldecoder(encoding)()

    def read(self, size: int, /) -> bytes:
        """About `size` bytes."""
        while True:
            data = self._stream.read(size)
            text = self._decoder.decode(data, final=not data)
            if text or not data:
                return text.encode()


class _Marked:
    def __init__(self, stream: Stream) -> None:
        self._stream = stream
        self._begun = False

    def read(self, size: int, /) -> bytes:
        data = self._stream.read(size)
        if self._begun or not data:
            return data
        self._begun = True
        while len(data) < len(_BOM) and _BOM.startswith(data) and (more := self._stream.read(size)):
            data += more
        return data.removeprefix(_BOM) or self._stream.read(size)


def not_text(name: str, path: Path, encoding: str) -> ActionError:
    """What is wrong with a file that `encoding` does not fit: reads it again to find the line."""
    decoder = codecs.getincrementaldecoder(encoding)()
    line = 1
    with open_stream(name, path, "utf-8") as stream:  # bytes as they are
        while True:
            data = stream.read(STEP)
            try:
                line += decoder.decode(data, final=not data).count("\n")
            except UnicodeDecodeError as e:
                line += e.object[: e.start].decode(encoding, "replace").count("\n")
                return not_decoded(f"{name}:{line}", encoding, e.object[e.start : e.start + 4])
            except UnicodeError as e:
                return ActionError(f"{name}:{line} is not {encoding}: {e}", slug="not-utf8")
            if not data:
                return ActionError(f"{name} is not {encoding}", slug="not-utf8")


def not_decoded(where: str, encoding: str, found: bytes) -> ActionError:
    """The error for bytes that are not in the file's encoding."""
    name = codecs.lookup(encoding).name.upper()
    utf16 = found[:2] in (b"\xff\xfe", b"\xfe\xff")
    guess = '`encoding = "utf-16"`' if utf16 else "`encoding`, for instance latin-1 or cp1252, if you know it"
    return ActionError(f"{where} is not {name} (bytes {found.hex(' ')})", slug="not-utf8", hint=f"set {guess}")
