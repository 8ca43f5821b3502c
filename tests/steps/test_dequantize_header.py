"""The bounded reading of GGUF headers: every lie is a named error, quickly, whatever the bytes are."""

from __future__ import annotations

import struct
import sys
import time
import tracemalloc
from pathlib import Path

import pytest
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st

sys.path.insert(0, str(Path(__file__).parent))
from gguf_files import ARCHITECTURE, by_hand, entry, pair, text

from tunekit.errors import ActionError
from tunekit.steps.dequantize.header import Header, read_header

F32, Q8_0 = 0, 8
BLOCKS = {F32: (1, 4), 1: (1, 2), Q8_0: (32, 34)}
U32, STRING, ARRAY, U64 = 4, 8, 9, 10
TENSORS = [entry("token_embd.weight", (32, 4), Q8_0, 0), entry("blk.0.x", (8,), F32, 160)]
DATA = b"\1" * 192
GOOD = by_hand([ARCHITECTURE, pair("llama.block_count", U32, struct.pack("<I", 1))], TENSORS, DATA)


def number(key: str, value: int) -> bytes:
    return pair(key, U32, struct.pack("<I", value))


def array(kind: int, count: int, body: bytes = b"") -> bytes:
    return struct.pack("<IQ", kind, count) + body


def read(data: bytes, folder: Path) -> Header:
    (folder / "m.gguf").write_bytes(data)
    return read_header(folder / "m.gguf", BLOCKS)


def test_what_a_header_says(tmp_path: Path) -> None:
    found = read(GOOD, tmp_path)
    assert (found.architecture, found.numbers, found.elements) == ("llama", {"block_count": 1}, 32 * 4 + 8)
    assert [(t.name, t.shape, t.nbytes) for t in found.tensors] == [
        ("token_embd.weight", (32, 4), 136),
        ("blk.0.x", (8,), 32),
    ]
    assert GOOD[found.tensors[1].start :] == DATA[160:]


RUNS_ON = text("x") + struct.pack("<Q", 1 << 40)
BAD = {
    "magic": (b"GGML" + GOOD[4:], "does not start with"),
    "big-endian": (GOOD[:4] + struct.pack(">I", 3) + GOOD[8:], "version 50331648"),
    "version 1": (by_hand([ARCHITECTURE], TENSORS, DATA, version=1), "version 1"),
    "2^60 tensors": (by_hand([ARCHITECTURE], TENSORS, DATA, counts=(1 << 60, 1)), "declares 1152921504606846976 t"),
    "2^60 settings": (by_hand([ARCHITECTURE], TENSORS, DATA, counts=(2, 1 << 60)), "settings"),
    "long key": (by_hand([text(b"k" * 2000)], TENSORS, DATA), "2000 bytes of a key"),
    "string beyond the file": (by_hand([pair("a", STRING, struct.pack("<Q", 1 << 40))], [], b""), "bytes of `a`"),
    "key twice": (by_hand([ARCHITECTURE, ARCHITECTURE], TENSORS, DATA), "twice"),
    "key in Latin-1": (by_hand([text(b"\xe9")], TENSORS, DATA), "not UTF-8"),
    "unknown type": (by_hand([pair("a", 77, b"")], TENSORS, DATA), "of type 77"),
    "no architecture": (by_hand([number("llama.block_count", 1)], TENSORS, DATA), "general.architecture"),
    "2^50 entries": (by_hand([pair("a", ARRAY, array(U64, 1 << 50))], TENSORS, DATA), "entries of `a`"),
    "arrays of arrays": (by_hand([pair("a", ARRAY, array(ARRAY, 1, array(ARRAY, 1)))], TENSORS, DATA), "of arrays"),
    "strings that run on": (by_hand([pair("a", ARRAY, array(STRING, 2, RUNS_ON))], [], b""), "n entry of `a`"),
    "alignment 0": (by_hand([ARCHITECTURE, number("general.alignment", 0)], TENSORS, DATA), "power of two"),
    "alignment of text": (by_hand([pair("general.alignment", STRING, text("8"))], TENSORS, DATA), "32-bit"),
    "100 dimensions": (by_hand([ARCHITECTURE], [entry("a", (1,) * 100, F32, 0)], DATA), "100 dimensions"),
    "a shape that overflows": (by_hand([ARCHITECTURE], [entry("a", (1 << 40, 1 << 40), F32, 0)], DATA), "the shape"),
    "an empty shape": (by_hand([ARCHITECTURE], [entry("a", (0,), F32, 0)], DATA), "the shape"),
    "half a block": (by_hand([ARCHITECTURE], [entry("a", (33,), Q8_0, 0)], DATA), "blocks of 32"),
    "tensor type": (by_hand([ARCHITECTURE], [entry("a", (32,), 99, 0)], DATA), "tensor type 99"),
    "beyond the end": (by_hand([ARCHITECTURE], [entry("a", (1 << 20,), F32, 0)], DATA), "cut short"),
    "over each other": (by_hand([ARCHITECTURE], [TENSORS[0], entry("b", (8,), F32, 32)], DATA), "over another"),
    "askew": (by_hand([ARCHITECTURE], [entry("a", (8,), F32, 4)], DATA), "askew"),
    "one name twice": (by_hand([ARCHITECTURE], [TENSORS[1], TENSORS[1]], DATA), "one name"),
    "no tensors": (by_hand([ARCHITECTURE], [], b""), "no tensor"),
    "a billion layers": (by_hand([ARCHITECTURE, number("llama.block_count", 10**9)], TENSORS, DATA), "1000000000 lay"),
    "a wide layer": (by_hand([ARCHITECTURE, number("llama.feed_forward_length", 10**9)], TENSORS, DATA), "widest"),
    "empty": (b"", "longer than the file"),
}  # fmt: skip


@pytest.mark.parametrize("case", BAD)
def test_a_lie_is_named(case: str, tmp_path: Path) -> None:
    data, said = BAD[case]
    tracemalloc.start()
    begun = time.perf_counter()
    with pytest.raises(ActionError, match=r"m\.gguf is not a GGUF file") as found:
        read(data, tmp_path)
    spent, (_, peak) = time.perf_counter() - begun, tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert found.value.slug == "bad-gguf" and said in str(found.value)
    assert peak < 1 << 20 and spent < 1


@pytest.mark.parametrize("cut", range(0, len(GOOD), 7))
def test_cut_short_anywhere(cut: int, tmp_path: Path) -> None:
    with pytest.raises(ActionError):
        read(GOOD[:cut], tmp_path)


@settings(max_examples=400, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(edits=st.lists(st.tuples(st.integers(0, len(GOOD) - 1), st.binary(min_size=1, max_size=9)), max_size=5))
@example(edits=[])
def test_any_bytes_are_read_or_refused(edits: list[tuple[int, bytes]], tmp_path: Path) -> None:
    """Never another exception; and what is accepted lies in the file."""
    data = bytearray(GOOD)
    for at, value in edits:
        data[at : at + len(value)] = value
    try:
        found = read(bytes(data), tmp_path)
    except ActionError as e:
        assert e.slug == "bad-gguf"
        return
    assert all(t.start >= 0 and t.start + t.nbytes <= len(data) for t in found.tensors)
    assert found.elements * 4 <= 8 * len(data)
