"""Ids as text: nothing is lost, whatever the tokenizer does with bytes and spaces."""

from __future__ import annotations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from tokenizers import AddedToken, Tokenizer, decoders, models, pre_tokenizers

from tunekit.lens.pieces import MASKED, TRAINED, Decoder, Piece, window


def byte_level() -> Tokenizer:
    """Every byte a token, as in GPT-2: a character of two bytes or more is several tokens."""
    words = {c: i for i, c in enumerate(sorted(pre_tokenizers.ByteLevel.alphabet()))}
    tokenizer = Tokenizer(models.BPE(words, [], byte_fallback=False))
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False)
    tokenizer.decoder = decoders.ByteLevel()
    tokenizer.add_special_tokens([AddedToken("<|end|>", special=True)])
    return tokenizer


def metaspace() -> Tokenizer:
    """Words with `▁` and bytes as `<0xE2>`, as in Llama 2."""
    merges = [("▁", "a"), ("▁", "b")]
    words = ["<unk>", *(f"<0x{i:02X}>" for i in range(256)), "▁", "a", "b", "▁a", "▁b"]
    tokenizer = Tokenizer(
        models.BPE({w: i for i, w in enumerate(words)}, merges, unk_token="<unk>", byte_fallback=True)
    )
    tokenizer.pre_tokenizer = pre_tokenizers.Metaspace(replacement="▁", prepend_scheme="first", split=False)
    tokenizer.decoder = decoders.Sequence(
        [decoders.Replace("▁", " "), decoders.ByteFallback(), decoders.Fuse(), decoders.Strip(" ", 1, 0)]
    )
    tokenizer.add_special_tokens([AddedToken("</s>", special=True, normalized=False)])
    return tokenizer


TOKENIZERS = {"bytes": byte_level(), "spaces": metaspace()}
END = {"bytes": "<|end|>", "spaces": "</s>"}


@pytest.mark.parametrize("name", TOKENIZERS)
@settings(deadline=None)
@given(text=st.text("ab 漢é😀\n", max_size=20), flag=st.sampled_from([TRAINED, MASKED]))
def test_text_and_ids_come_back(name, text, flag):
    tokenizer = TOKENIZERS[name]
    ids = tokenizer.encode(text + END[name], add_special_tokens=False).ids
    pieces = Decoder(tokenizer).pieces(ids, [flag] * len(ids))
    assert [id for p in pieces for id in p.ids] == ids
    assert "".join(p.text for p in pieces) == tokenizer.decode(ids, skip_special_tokens=False)
    assert pieces[-1] == Piece(END[name], [ids[-1]], flag, True)
    assert not any(p.special for p in pieces[:-1])


@pytest.mark.parametrize("name", TOKENIZERS)
@settings(deadline=None)
@given(data=st.data())
def test_any_ids_and_flags_are_shown_once(name, data):
    tokenizer = TOKENIZERS[name]
    some = st.integers(0, tokenizer.get_vocab_size() + 3)
    ids = data.draw(st.lists(some, max_size=30))
    flags = data.draw(st.lists(st.sampled_from([TRAINED, MASKED]), min_size=len(ids), max_size=len(ids)))
    pieces = Decoder(tokenizer).pieces(ids, flags)
    assert [(id, p.flag) for p in pieces for id in p.ids] == list(zip(ids, flags, strict=True))
    assert all(p.text for p in pieces if len(set(p.ids)) == 1 and p.special)


def test_a_character_of_tokens_with_different_flags_is_shown_as_in_the_vocabulary():
    tokenizer = TOKENIZERS["bytes"]
    ids = tokenizer.encode("é").ids
    assert len(ids) == 2
    pieces = Decoder(tokenizer).pieces(ids, [MASKED, TRAINED])
    assert [(p.text, p.flag) for p in pieces] == [("Ã", MASKED), ("©", TRAINED)]
    assert [p.text for p in Decoder(tokenizer).pieces(ids, [TRAINED, TRAINED])] == ["é"]


def test_an_id_that_is_not_in_the_vocabulary_is_named():
    ids = [10**6, 3]
    assert Decoder(TOKENIZERS["bytes"]).pieces(ids, [MASKED, TRAINED])[0].text == "<id 1000000>"


def pieces_of(text: str) -> list[Piece]:
    return [Piece(c, [ord(c)], MASKED, False) for c in text]


def test_a_window_is_the_beginning_or_what_is_around_the_text():
    pieces = pieces_of("abcdefghij")
    assert window(pieces, 10) == (pieces, 0, 0)
    assert window(pieces, 4) == (pieces[:4], 0, 6)
    assert window(pieces, 4, "fgh") == (pieces[3:7], 3, 3)
    assert window(pieces, 4, "j") == (pieces[6:], 6, 0)
    assert window(pieces, 4, "nothing") == (pieces[:4], 0, 6)


@settings(deadline=None)
@given(st.integers(1, 12), st.integers(1, 12), st.sampled_from(["", "a", "e", "zz"]))
def test_a_window_counts_what_it_leaves_out(length, most, around):
    pieces = pieces_of("abcdefghijkl"[:length])
    shown, before, behind = window(pieces, most, around)
    assert len(shown) == min(most, length) and before + len(shown) + behind == length
    assert shown == pieces[before : before + len(shown)]
