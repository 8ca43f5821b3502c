"""A sealed cache file is whole, or it is not believed."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from tunekit.store.checked import seal, unseal


@given(st.binary(max_size=200))
def test_what_goes_in_comes_out(data: bytes) -> None:
    assert unseal(seal(data)) == data


def test_every_tear_and_every_flipped_bit_is_noticed() -> None:
    whole = seal(b'{"a": [1, 2, 3]}')
    assert [n for n in range(len(whole)) if unseal(whole[:n]) is not None] == []
    for at in range(len(whole) * 8):
        torn = bytearray(whole)
        torn[at // 8] ^= 1 << at % 8
        assert unseal(bytes(torn)) is None
    assert unseal(whole + b"x") is None
