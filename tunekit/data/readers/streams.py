"""A file as a stream of bytes in UTF-8: plain, gzip or zstd."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Protocol

import pyarrow as pa

from tunekit.errors import ActionError

_CODECS = {".gz": "gzip", ".zst": "zstd", ".zstd": "zstd"}
_MAGIC = {b"\x1f\x8b\x08": "gzip", b"\x28\xb5\x2f\xfd": "zstd"}
_BOM = b"\xef\xbb\xbf"


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
    """The file's text as UTF-8, a mark at its start (BOM) left out. `read` raises Torn, or OSError.

    Raises ActionError (`bad-file`) for a compressed file whose name does not say so.
    """
    with open(path, "rb", buffering=0) as file:
        magic = file.read(4)
        file.seek(0)
        codec = codec_of(name)
        found = next((c for m, c in _MAGIC.items() if magic.startswith(m)), "")
        if found and found != codec:
            raise ActionError(f"{name} is a {found} file", slug="bad-file", hint="its name must end in .gz or .zst")
        yield _Text(file, codec, encoding)


class _Text:
    def __init__(self, file: Stream, codec: str, encoding: str) -> None:
        self._stream = file
        self._start = True
        if codec:
            self._stream = pa.CompressedInputStream(file, codec)
        if encoding != "utf-8":
            self._stream = pa.transcoding_input_stream(self._stream, encoding, "utf-8")

    def read(self, size: int, /) -> bytes:
        """Up to `size` bytes; none at the end."""
        try:
            data = self._stream.read(size)
        except (OSError, pa.ArrowException) as e:
            raise Torn(str(e)) from e
        if self._start and data:
            self._start = False
            return data.removeprefix(_BOM) or self.read(size)
        return data
