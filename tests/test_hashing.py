"""The canonical encoding and the digests made of it."""

from __future__ import annotations

import hashlib
import json
import math
from datetime import date
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tunekit.hashing import canonical, digest_of, hex_of, sha256_bytes, sha256_file, short, tree_digest

leaves = st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False) | st.text()
values = st.recursive(leaves, lambda v: st.lists(v, max_size=3) | st.dictionaries(st.text(max_size=3), v, max_size=3))
lossless = st.text(st.characters(exclude_categories=["Cs"]))


def shuffled(value: object) -> object:
    """The same structure with its keys in the other order."""
    if isinstance(value, dict):
        return {k: shuffled(v) for k, v in reversed(value.items())}
    return [shuffled(v) for v in value] if isinstance(value, list) else value


@settings(max_examples=60, deadline=None)
@given(values)
def test_equal_structures_give_equal_bytes(value: object) -> None:
    try:
        data = canonical(value)
    except UnicodeEncodeError:
        return  # a lone surrogate is no text; TOML cannot hold one
    assert data == canonical(shuffled(value))
    assert json.loads(data) == value  # nothing is lost, so different structures differ


def test_golden_bytes() -> None:
    """These never change: every key ever made depends on them."""
    assert canonical({"b": [1, 1.0, True, None, "é"], "a": {}}) == '{"a":{},"b":[1,1.0,true,null,"é"]}'.encode()
    assert digest_of({"a": 1}, "tunekit/action/1") == sha256_bytes(b'tunekit/action/1\0{"a":1}')
    assert tree_digest([("b", 1, False, "sha256:00"), ("a", 2, True, "sha256:11")]) == sha256_bytes(
        b'tunekit/tree/1\0[["a",2,true,"sha256:11"],["b",1,false,"sha256:00"]]'
    )


def test_floats_and_integers_are_different_settings() -> None:
    assert len({canonical(x) for x in (1, 1.0, True, "1", [1])}) == 5
    assert canonical(1e-4) == b"0.0001"
    assert canonical(2e-5) == b"2e-05"


@pytest.mark.parametrize("bad", [math.nan, math.inf, -math.inf])
def test_what_is_not_finite_is_refused(bad: float) -> None:
    with pytest.raises(ValueError, match=r"."):
        canonical({"a": [bad]})


@pytest.mark.parametrize(
    ("bad", "where"),
    [
        ({"a": [{"b": {1}}]}, r"a\[0\]\.b"),
        ({"a": {1: 2}}, "a: key 1"),
        ([object()], r"\[0\]"),
        (date(2020, 1, 1), "value"),
    ],
)
def test_what_cannot_be_hashed_names_the_field(bad: object, where: str) -> None:
    with pytest.raises(TypeError, match=where):
        canonical(bad)


def test_domains_keep_digests_apart() -> None:
    assert digest_of([1], "a") != digest_of([1], "b")


def test_files_are_hashed_in_blocks(tmp_path: Path) -> None:
    data = b"x" * (2 << 20) + b"tail"
    (tmp_path / "f").write_bytes(data)
    assert sha256_file(tmp_path / "f") == "sha256:" + hashlib.sha256(data).hexdigest() == sha256_bytes(data)


@pytest.mark.parametrize(
    "bad", ["", "sha256:", "sha256:" + "g" * 64, "sha256:" + "A" * 64, "md5:" + "0" * 64, "0" * 64]
)
def test_only_our_digests_become_paths(bad: str) -> None:
    with pytest.raises(ValueError, match="not a sha256 digest"):
        hex_of(bad)


def test_short() -> None:
    assert short(sha256_bytes(b"")) == "e3b0c44298fc"


@given(st.lists(st.tuples(lossless, st.integers(0, 9), st.booleans(), lossless), max_size=5, unique_by=lambda e: e[0]))
@settings(max_examples=30, deadline=None)
def test_a_tree_is_a_set_of_files(entries: list[tuple[str, int, bool, str]]) -> None:
    assert tree_digest(entries) == tree_digest(reversed(entries))
