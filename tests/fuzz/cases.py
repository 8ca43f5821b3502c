"""How cases are made and judged."""

from __future__ import annotations

import os
import time
from collections import Counter
from collections.abc import Callable
from typing import Any

from hypothesis import HealthCheck, settings
from hypothesis import strategies as st

CASES = int(os.environ.get("TUNEKIT_FUZZ", "30"))
SECONDS = 5.0  # that one case may take, on a busy machine
many = settings(max_examples=CASES, deadline=None, suppress_health_check=list(HealthCheck))
ran: Counter[str] = Counter()

# What parsers have stumbled over.
TOKENS = [
    b"", b"\0", b"\xff\xfe", b"\xef\xbb\xbf", b"\r", b"\n", b"\x1b[2J", b"[", b"[[", b"{" * 200, b"[" * 5000,
    b"(" * 200, b"-" * 3000, b"a." * 300 + b"b = 1\n", b'"""', b"'''", b"\\u0000", b"\\ud800", b"nan", b"-inf", b"NaN",
    b"1e999", b"9" * 5000, b"0x" + b"f" * 40, b"18446744073709551616", b"-1", b"null", b"true", b"1979-05-27T00:32:00Z",
    b"../../x", b"/etc/passwd", b"path:..", b"\xed\xa0\x80", "\u00fc\u202e\u0000".encode(), b"sha256:" + b"0" * 64,
    b"x" * 300, b"=", b",", b"]", b"}", b'": {', b'": [', b"{}", b"[]", b'""', b"{%", b"{{", b"%}", b"}}", b"#",
    b"__class__", b"__proto__",
]  # fmt: skip


@st.composite
def mutated(draw: st.DrawFn, seeds: list[bytes]) -> bytes:
    """One of the seeds with a few bytes flipped, cut, doubled, moved, or tokens put in."""
    data = bytearray(draw(st.sampled_from(seeds)))
    for _ in range(draw(st.integers(1, 6))):
        at = draw(st.integers(0, max(len(data), 1)))
        to = min(len(data), at + draw(st.integers(0, 40)))
        match draw(st.integers(0, 6)):
            case 0 if at < len(data):
                data[at] ^= 1 << draw(st.integers(0, 7))
            case 1:
                del data[at:to]
            case 2:
                data[at:at] = data[at:to]
            case 3:
                data[at:to] = draw(st.sampled_from(TOKENS))
            case 4:
                data[at:at] = draw(st.binary(max_size=8))
            case 5:
                del data[at:]
            case _:
                data[at:at] = draw(st.sampled_from(TOKENS))
    return bytes(data)


def soup(seeds: list[bytes]) -> st.SearchStrategy[bytes]:
    """Mostly near to something real, for that gets furthest."""
    words = st.lists(st.sampled_from(TOKENS) | st.binary(max_size=6), max_size=12).map(b"".join)
    return st.one_of(mutated(seeds), mutated(seeds), mutated(seeds), words, st.binary(max_size=400))


def tried(look: Callable[[], Any], errors: type[Exception] | tuple[type[Exception], ...]) -> Any:
    """The value, or None with one of these errors; nothing else may come, and not late."""
    begun = time.monotonic()
    try:
        found = look()
        ran["read"] += 1
    except errors as e:
        found = None
        ran["refused"] += 1
        assert str(e) or type(e).__name__
    took = time.monotonic() - begun
    assert took < SECONDS, f"it took {took:.1f} s"
    return found
