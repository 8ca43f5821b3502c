"""Safetensors headers and the indexes beside them."""

from __future__ import annotations

import json
import struct

import pytest
from cases import many, soup, tried
from hypothesis import given
from hypothesis import strategies as st

from tunekit.errors import ActionError

pytestmark = pytest.mark.torch

HEADER = {
    "__metadata__": {"format": "pt"},
    "a": {"dtype": "F32", "shape": [2, 3], "data_offsets": [0, 24]},
    "b": {"dtype": "BF16", "shape": [4], "data_offsets": [24, 32]},
}
INDEX = {"metadata": {"total_size": 32}, "weight_map": {"a": "one.safetensors", "b": "one.safetensors"}}


def file_of(header: bytes, data: bytes = bytes(32), length: int | None = None) -> bytes:
    return struct.pack("<Q", len(header) if length is None else length) + header + data


GOOD = json.dumps(HEADER).encode()


def checked(folder) -> None:
    from tunekit.engine import weights

    weights.validate(folder)


@many
@given(header=soup([GOOD]), size=st.integers(0, 64), length=st.none() | st.integers(0, 2**64 - 1))
def test_headers(folder, header, size, length):
    place = folder / "weights"
    place.mkdir(exist_ok=True)
    (place / "model.safetensors").write_bytes(file_of(header, bytes(size), length))
    tried(lambda: checked(place), ActionError)


@many
@given(data=soup([file_of(GOOD)]))
def test_files(folder, data):
    place = folder / "files"
    place.mkdir(exist_ok=True)
    (place / "model.safetensors").write_bytes(data)
    tried(lambda: checked(place), ActionError)


@many
@given(index=soup([json.dumps(INDEX).encode()]))
def test_indexes(folder, index):
    place = folder / "sharded"
    place.mkdir(exist_ok=True)
    (place / "one.safetensors").write_bytes(file_of(GOOD))
    (place / "model.safetensors.index.json").write_bytes(index)
    tried(lambda: checked(place), ActionError)


@pytest.mark.parametrize(
    "header",
    [
        {"a": {"dtype": "F32", "shape": [2**40, 2**40], "data_offsets": [0, 24]}},
        {"a": {"dtype": "F32", "shape": [6], "data_offsets": [0, 24]}, "b": {"dtype": "F32", "shape": [2**61],
         "data_offsets": [24, 32]}},
        {"a": {"dtype": "F32", "shape": [6], "data_offsets": [8, 32]}},
        {"a": {"dtype": "F32", "shape": [-6], "data_offsets": [0, 24]}},
        {"a": {"dtype": "F32", "shape": [6], "data_offsets": [24, 0]}},
        {"a": {"dtype": "F99", "shape": [6], "data_offsets": [0, 24]}},
    ],
)  # fmt: skip
def test_lies(tmp_path, header):
    (tmp_path / "model.safetensors").write_bytes(file_of(json.dumps(header).encode()))
    with pytest.raises(ActionError) as failed:
        checked(tmp_path)
    assert failed.value.slug == "bad-weights"
