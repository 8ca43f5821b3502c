"""The header of a GGUF file, read with bounds, before a library that trusts it gets the file.

Libraries walk a header by the counts that it declares: a file of 100 bytes may promise 2⁶⁰ strings. Here every count is
held against a limit and against what the file can hold, nothing is read into memory beyond the small values that are
checked, and every tensor must lie inside the file, apart from all others.

Format: https://github.com/ggml-org/ggml/blob/master/docs/gguf.md. All numbers are little-endian.
"""

from __future__ import annotations

import math
import os
import struct
from pathlib import Path
from typing import IO, NamedTuple

from tunekit.errors import ActionError

MAX_PAIRS = 16_384  # metadata of a real model: some 40
MAX_TENSORS = 131_072
MAX_ARRAY = 8_388_608  # entries; vocabularies have less than 10⁶, merge tables less than 2·10⁶
MAX_STRING = 8 << 20  # a chat template at most
MAX_KEY = 1024
MAX_NAME = 256
MAX_DIMS = 4
MAX_HEADER = 512 << 20  # bytes before the tensors' data
_VERSIONS = (2, 3)
_WIDTH = {0: 1, 1: 1, 2: 2, 3: 2, 4: 4, 5: 4, 6: 4, 7: 1, 10: 8, 11: 8, 12: 8}  # value type → bytes
_INTEGERS = {0: "<B", 1: "<b", 2: "<H", 3: "<h", 4: "<I", 5: "<i", 10: "<Q", 11: "<q"}
_STRING, _ARRAY, _UINT32 = 8, 9, 4
_TOO_BIG = 1 << 62
# Settings whose size the file's tensors must bear out: a model of the declared size is built before any is read.
_SIZES = ("embedding_length", "feed_forward_length", "vocab_size", "expert_count", "expert_feed_forward_length")


class Tensor(NamedTuple):
    """One entry of the table. `shape` in ggml's order (fastest first), `start`: byte of the file."""

    name: str
    shape: tuple[int, ...]
    type: int
    start: int
    nbytes: int

    @property
    def elements(self) -> int:
        return math.prod(self.shape)


class Header(NamedTuple):
    architecture: str
    numbers: dict[str, int]  # integer settings of the architecture, without its name
    arrays: dict[str, int]  # key of an array → how many entries it has
    tensors: list[Tensor]

    @property
    def elements(self) -> int:
        return sum(tensor.elements for tensor in self.tensors)


def bad(file: str, why: str) -> ActionError:
    hint = "the file is damaged or was not made by llama.cpp's tools; nothing of it was used"
    return ActionError(f"{file} is not a GGUF file that can be read: {why}", slug="bad-gguf", hint=hint)


def read_header(path: Path, blocks: dict[int, tuple[int, int]]) -> Header:
    """Check all of the header. `blocks`: tensor type → (elements, bytes) of one of its blocks.

    Raises ActionError `bad-gguf`.
    """
    with path.open("rb") as stream:
        reader = _Reader(stream, os.fstat(stream.fileno()).st_size, path.name)
        return reader.header(blocks)


class _Reader:
    def __init__(self, stream: IO[bytes], size: int, file: str) -> None:
        self.stream = stream
        self.size = size
        self.file = file
        self.at = 0

    def fail(self, why: str) -> ActionError:
        return bad(self.file, why)

    def header(self, blocks: dict[int, tuple[int, int]]) -> Header:
        if self.bytes(4) != b"GGUF":
            raise self.fail("it does not start with `GGUF`")
        version = self.number("<I")
        if version not in _VERSIONS:
            raise self.fail(f"version {version}, and versions 2 and 3 are read (big-endian files are not)")
        tensors = self.count(MAX_TENSORS, 8, "tensors")
        pairs = self.count(MAX_PAIRS, 8, "settings")
        strings, numbers, arrays = self.pairs(pairs)
        architecture = strings.get("general.architecture", "")
        if not architecture:
            raise self.fail("it does not say its `general.architecture`")
        alignment = numbers.pop("general.alignment", 32)
        if alignment <= 0 or alignment & (alignment - 1) or alignment > 1 << 20:
            raise self.fail(f"general.alignment {alignment} is not a power of two")
        entries = [self.entry(blocks) for _ in range(tensors)]
        found = self.placed(entries, -(-self.at // alignment) * alignment, alignment)
        prefix = architecture + "."
        own = {k.removeprefix(prefix): n for k, n in numbers.items() if k.startswith(prefix)}
        header = Header(architecture, own, arrays, found)
        self.check_sizes(header)
        return header

    # -- pieces ------------------------------------------------------------------------------------------

    def bytes(self, count: int) -> bytes:
        self.advance(count)
        data = self.stream.read(count)
        if len(data) != count:
            raise self.fail("it ends inside its header")
        return data

    def skip(self, count: int) -> None:
        self.advance(count)
        self.stream.seek(count, os.SEEK_CUR)

    def advance(self, count: int) -> None:
        self.at += count
        if self.at > min(self.size, MAX_HEADER):
            raise self.fail(f"its header is longer than {'the file' if self.at > self.size else '512 MiB'}")

    def number(self, form: str) -> int:
        return int(struct.unpack(form, self.bytes(struct.calcsize(form)))[0])

    def count(self, most: int, width: int, what: str) -> int:
        """A 64-bit count of things that take `width` bytes at least."""
        count = self.number("<Q")
        if count > most or count * width > self.size - self.at:
            raise self.fail(f"it declares {count} {what}")
        return count

    def text(self, most: int, what: str) -> str:
        length = self.count(most, 1, f"bytes of {what}")
        try:
            return self.bytes(length).decode()
        except UnicodeDecodeError:
            raise self.fail(f"{what} is not UTF-8") from None

    def pairs(self, count: int) -> tuple[dict[str, str], dict[str, int], dict[str, int]]:
        """(strings, integers, lengths of arrays) by key. Values of vocabularies are walked over, not kept."""
        strings: dict[str, str] = {}
        numbers: dict[str, int] = {}
        arrays: dict[str, int] = {}
        keys: set[str] = set()
        for _ in range(count):
            key = self.text(MAX_KEY, "a key")
            if key in keys:
                raise self.fail(f"it says `{key}` twice")
            keys.add(key)
            kind = self.number("<I")
            if key == "general.alignment" and kind != _UINT32:
                raise self.fail("general.alignment is not a 32-bit number")
            if kind == _STRING:
                strings[key] = self.text(MAX_STRING, f"`{key}`")
            elif kind == _ARRAY:
                arrays[key] = self.array(key)
            elif kind in _INTEGERS:
                numbers[key] = self.number(_INTEGERS[kind])
            elif kind in _WIDTH:
                self.skip(_WIDTH[kind])
            else:
                raise self.fail(f"`{key}` is of type {kind}")
        return strings, numbers, arrays

    def array(self, key: str) -> int:
        kind = self.number("<I")
        if kind in _WIDTH:
            count = self.count(MAX_ARRAY, _WIDTH[kind], f"entries of `{key}`")
            self.skip(count * _WIDTH[kind])
        elif kind == _STRING:
            count = self.count(MAX_ARRAY, 8, f"entries of `{key}`")
            for _ in range(count):
                self.skip(self.count(MAX_STRING, 1, f"bytes of an entry of `{key}`"))
        else:
            raise self.fail(f"`{key}` is an array of type {kind}" + " (an array of arrays)" * (kind == _ARRAY))
        return count

    def entry(self, blocks: dict[int, tuple[int, int]]) -> Tensor:
        """One entry of the table; `start` is still relative to the tensors' data."""
        name = self.text(MAX_NAME, "a tensor's name")
        dims = self.number("<I")
        if not 1 <= dims <= MAX_DIMS:
            raise self.fail(f"`{name}` has {dims} dimensions")
        shape = tuple(self.number("<Q") for _ in range(dims))
        kind, start = self.number("<I"), self.number("<Q")
        if kind not in blocks:
            raise self.fail(f"`{name}` is of the tensor type {kind}, which the installed `gguf` does not know")
        elements, width = blocks[kind]
        total = math.prod(shape)
        if not 0 < total < _TOO_BIG or shape[0] % elements:
            raise self.fail(f"`{name}` has the shape {list(shape)}, in blocks of {elements}")
        return Tensor(name, shape, kind, start, total // elements * width)

    def placed(self, entries: list[Tensor], data: int, alignment: int) -> list[Tensor]:
        """The tensors with their place in the file: inside it, aligned, of different names, none over another."""
        if len({t.name for t in entries}) != len(entries):
            raise self.fail("two tensors have one name")
        found = [t._replace(start=data + t.start) for t in entries]
        end = data
        for tensor in sorted(found, key=lambda t: t.start):
            if (tensor.start - data) % alignment or tensor.start < end:
                raise self.fail(f"`{tensor.name}` lies over another tensor, or askew")
            end = tensor.start + tensor.nbytes
            if end > self.size:
                raise self.fail(f"`{tensor.name}` ends at byte {end} of {self.size}: the file is cut short")
        if not found:
            raise self.fail("it holds no tensor")
        return found

    def check_sizes(self, header: Header) -> None:
        layers = header.numbers.get("block_count", 0)
        if layers > len(header.tensors):
            raise self.fail(f"it declares {layers} layers and has {len(header.tensors)} tensors")
        widest = max(max(t.shape) for t in header.tensors)
        for name in _SIZES:
            if header.numbers.get(name, 0) > widest:
                raise self.fail(f"{name} {header.numbers[name]} is more than its widest tensor ({widest})")
