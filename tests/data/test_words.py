"""A text tokenized word by word has the tokens, and the places, that its tokenizer gives the whole."""

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from tokenizers import AddedToken, Regex, Tokenizer, models, normalizers, pre_tokenizers, trainers

from tunekit.data.words import SPLITS, Words, ascii_of

TEXT = [
    "the sum is 1234 and it's THE camelCase HTTPServer's\n\n  don't /* x */\n/// na\u00efve d\u00e9j\u00e0 vu\r\n"
] * 4


def _byte_level(**settings):
    return pre_tokenizers.ByteLevel(add_prefix_space=False, **settings)


def _split(rule):
    return pre_tokenizers.Sequence([pre_tokenizers.Split(Regex(rule), "isolated"), _byte_level(use_regex=False)])


def _tokenizer(pre, normalizer=None, added=(), model=None):
    tokenizer = Tokenizer(model or models.BPE())
    tokenizer.pre_tokenizer = pre
    if normalizer:
        tokenizer.normalizer = normalizer
    trainer = trainers.BpeTrainer(
        vocab_size=330, show_progress=False, initial_alphabet=sorted(pre_tokenizers.ByteLevel.alphabet())
    )
    tokenizer.train_from_iterator(TEXT, trainer)
    tokenizer.add_tokens([AddedToken(text, normalized=False) for text in ("<a>", "<a>b", "<ab", "\u2581x")])
    tokenizer.add_special_tokens([AddedToken("<|end|>", normalized=False), *added])
    return tokenizer


DIGITS = pre_tokenizers.Sequence([pre_tokenizers.Digits(individual_digits=True), _byte_level()])
KNOWN = {
    "Qwen": _tokenizer(_split(SPLITS[0]), normalizers.NFC()),
    "Llama 3": _tokenizer(_split(SPLITS[1])),
    "Tekken": _tokenizer(_split(SPLITS[2])),
    "o200k": _tokenizer(_split(SPLITS[3]), normalizers.Sequence([])),
    "GPT-2": _tokenizer(_byte_level()),
    "GPT-2, in a sequence": _tokenizer(pre_tokenizers.Sequence([_byte_level()]), normalizers.NFC()),
    "SmolLM2": _tokenizer(DIGITS),
}
OTHER = {
    "no rule": _tokenizer(pre_tokenizers.Sequence([])),
    "another rule": _tokenizer(_split(r"\p{N}{1,2}|\P{N}+")),
    "removes": _tokenizer(
        pre_tokenizers.Sequence([pre_tokenizers.Split(Regex(SPLITS[0]), "removed"), _byte_level(use_regex=False)])
    ),
    "cuts twice": _tokenizer(
        pre_tokenizers.Sequence([pre_tokenizers.Split(Regex(SPLITS[0]), "isolated"), _byte_level()])
    ),
    "prefix space": _tokenizer(pre_tokenizers.ByteLevel(add_prefix_space=True)),
    "metaspace": _tokenizer(pre_tokenizers.Metaspace()),
    "lower case": _tokenizer(_byte_level(), normalizers.Lowercase()),
    "dropout": _tokenizer(_byte_level(), model=models.BPE(dropout=0.5)),
    "takes space": _tokenizer(_byte_level(), added=[AddedToken("<odd>", lstrip=True, normalized=False)]),
    "whole words": _tokenizer(_byte_level(), added=[AddedToken("sum", single_word=True, normalized=False)]),
    "after normalizing": _tokenizer(_byte_level(), normalizers.NFC(), added=[AddedToken("e\u0301", normalized=True)]),
    "two kinds": _tokenizer(_byte_level(), added=[AddedToken("<odd>", normalized=True)]),
}
FRAGMENTS = [
    " ", "  ", "\n", "\r\n", "\t", "\x0b", "\x1c", "\x00", "a", "B", " the", " sum", "THE", "s", "'s", "'S", "'re",
    "'LL", "'\u017f", "1", "12", " 3", "\u00bd", "/", "!", " !!", "_", "\u00e9", "e\u0301", "\u0301", "\u00a0",
    "\u2028", "\u0085", "\u01c5", "\u4f60", "\U0001f600", "\ufb01", "\u1e9b\u0323", "<", "<a>", "<a>b", "<ab",
    "<|end|>", "\u2581x", "x", " b c",
]  # fmt: skip
texts = st.lists(st.sampled_from(FRAGMENTS) | st.text(max_size=3), max_size=14).map("".join)


@pytest.mark.parametrize("name", KNOWN)
@settings(max_examples=300)
@given(st.lists(texts, max_size=3))
def test_words_are_the_whole(name, given):
    tokenizer = KNOWN[name]
    words = Words.of(tokenizer)
    assert words
    for _ in range(2):  # the second time words are known
        for text, ids in zip(given, words.ids(given), strict=True):
            whole = tokenizer.encode(text, add_special_tokens=False)
            placed = words.places(text, ids)
            assert ids == whole.ids
            assert "".join(words.cut(text)) == text
            for at in range(len(text)):
                assert placed.char_to_token(at) == whole.char_to_token(at)
            for token in range(len(ids)):
                assert placed.token_to_chars(token) == whole.token_to_chars(token)


@pytest.mark.parametrize("name", KNOWN)
@given(st.text(st.characters(max_codepoint=127), max_size=20))
def test_ascii_is_cut_as_the_tokenizer_cuts_it(name, text):
    tokenizer = KNOWN[name]
    words = Words.of(tokenizer)
    assert words
    cut = tokenizer.pre_tokenizer.pre_tokenize_str(text)
    assert words._cut(text) == [text[start:end] for _, (start, end) in cut]


@pytest.mark.parametrize("name", OTHER)
def test_other_tokenizers_are_given_whole_texts(name):
    assert Words.of(OTHER[name]) is None


def test_a_tokenizer_that_disagrees_is_given_whole_texts(monkeypatch):
    monkeypatch.setattr("tunekit.data.words.ascii_of", lambda split: ascii_of(split).replace("A-Z", "A-Y"))
    assert Words.of(KNOWN["Llama 3"]) is None


def test_words_are_forgotten_in_time_and_long_ones_at_once(monkeypatch):
    words = Words.of(KNOWN["Qwen"])
    assert words
    long = "\u4f60" * 65
    words.ids([f"in the end {long}"])
    assert long not in words._known
    assert " the" in words._known
    monkeypatch.setattr("tunekit.data.words._MOST", 3)
    text = "one two<|end|> three"
    assert words.ids([text, text])[1] == KNOWN["Qwen"].encode(text).ids
    assert " the" not in words._known
    assert " three" in words._known


def test_a_text_that_is_not_ascii_is_left_whole_between_two_letters_and_no_further():
    words = Words.of(KNOWN["Qwen"])
    assert words
    assert words.cut("it is na\u00efve, so a b") == ["it", " is", " na\u00efve, so", " a", " b"]
