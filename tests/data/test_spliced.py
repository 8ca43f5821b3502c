"""A text tokenized block by block has the tokens, and the offsets, that it has as a whole."""

import pytest
from hypothesis import given
from hypothesis import strategies as st
from tokenizers import AddedToken, Tokenizer, models, normalizers, pre_tokenizers, trainers

from tunekit.data.marked import Marked, Span
from tunekit.data.spliced import Splicer

START, END, ODD = "<|start|>", "<|end|>", "<|odd|>"
TEMPLATE = f"{START} {ODD} {END}"
WORDS = [
    START,
    END,
    ODD,
    "user\n",
    "the sum is",
    "  ",
    "\n",
    "é",
    "e\u0301",
    "\U0001f600",
    "<",
    "<|",
    "|>",
    "a",
    "ﬁ",
    "_",
]


def _tokenizer(pre, normalizer=None, odd: AddedToken | None = None, more: tuple[AddedToken, ...] = ()) -> Tokenizer:
    tokenizer = Tokenizer(models.BPE(unk_token="?"))
    tokenizer.pre_tokenizer = pre
    if normalizer:
        tokenizer.normalizer = normalizer
    trainer = trainers.BpeTrainer(
        vocab_size=330, show_progress=False, special_tokens=["?"],
        initial_alphabet=sorted(pre_tokenizers.ByteLevel.alphabet()),
    )  # fmt: skip
    tokenizer.train_from_iterator(["user\n the sum is <|\n\n", "the sum is  a sum\n\n<|"] * 5, trainer)
    tokenizer.add_special_tokens([START, END, odd or ODD, *more])
    return tokenizer


def _bytes(**settings: object) -> pre_tokenizers.PreTokenizer:
    return pre_tokenizers.ByteLevel(add_prefix_space=False, **settings)


TOKENIZERS = {
    "byte level": _tokenizer(_bytes()),
    "NFC": _tokenizer(_bytes(), normalizers.NFC()),
    "NFKC, prefix space": _tokenizer(pre_tokenizers.ByteLevel(add_prefix_space=True), normalizers.NFKC()),
    "metaspace, first": _tokenizer(pre_tokenizers.Metaspace(prepend_scheme="first")),
    "metaspace, always": _tokenizer(pre_tokenizers.Metaspace(prepend_scheme="always")),
    "sentencepiece": _tokenizer(
        pre_tokenizers.Sequence([]), normalizers.Sequence([normalizers.Prepend("▁"), normalizers.Replace(" ", "▁")])
    ),
    "takes space before": _tokenizer(_bytes(), odd=AddedToken(ODD, lstrip=True, special=True)),
    "takes space behind": _tokenizer(_bytes(), odd=AddedToken(ODD, rstrip=True, special=True)),
    "whole words": _tokenizer(_bytes(), odd=AddedToken(ODD, single_word=True, special=True)),
    "normalized": _tokenizer(_bytes(), normalizers.NFC(), odd=AddedToken(ODD, normalized=True, special=True)),
    "longer": _tokenizer(_bytes(), more=(AddedToken(START + "user", special=True),)),
    "across": _tokenizer(_bytes(), more=(AddedToken("a" + START[:4], special=True),)),
    "around": _tokenizer(_bytes(), more=(AddedToken("\n" + START + "a", special=True),)),
    "a word": _tokenizer(_bytes(), more=(AddedToken("sum", single_word=True, special=True),)),
}


@pytest.mark.parametrize("name", TOKENIZERS)
@given(st.lists(st.lists(st.sampled_from(WORDS) | st.text(max_size=3), max_size=9).map("".join), max_size=4), st.data())
def test_blocks_are_the_whole(name, texts, data):
    tokenizer = TOKENIZERS[name]
    splicer = Splicer(tokenizer, TEMPLATE, frozenset())
    for _ in range(2):  # the second time some blocks are known
        marked = []
        for text in texts:
            places = st.integers(0, len(text))
            spans = data.draw(st.lists(st.tuples(places, places), max_size=2))
            marked.append(Marked(text, False, [Span(min(s), max(s), True) for s in spans], []))
        for text, found in zip(texts, splicer.encode(marked), strict=True):
            whole = tokenizer.encode(text, add_special_tokens=False)
            assert found.ids == whole.ids
            assert [found.char_to_token(at) for at in range(len(text))] == [
                whole.char_to_token(at) for at in range(len(text))
            ]
            assert [found.token_to_chars(t) for t in range(len(whole))] == [
                whole.token_to_chars(t) for t in range(len(whole))
            ]


@pytest.mark.parametrize(
    ("name", "cut"),
    [("byte level", [START, ODD, END]), ("longer", [START, ODD, END]), ("across", [ODD, END]), ("around", [ODD, END])]
    + [(name, [START, END]) for name in ("takes space before", "takes space behind", "whole words", "normalized")],
)
def test_where_texts_are_cut(name, cut):
    pieces = Splicer(TOKENIZERS[name], TEMPLATE, frozenset())._cut(f"x{START}{ODD}{END}")
    assert {token for token in (START, ODD, END) if any(piece.startswith(token) for piece in pieces)} == set(cut)


def test_a_turn_that_ends_is_no_place_to_cut():
    tokenizer = TOKENIZERS["byte level"]
    splicer = Splicer(tokenizer, TEMPLATE, frozenset([tokenizer.token_to_id(END)]))
    assert splicer._cut(f"{START}a{END}\n{START}b{END}") == [f"{START}a{END}\n", f"{START}b{END}"]


def test_a_block_is_tokenized_once_and_forgotten_in_time(monkeypatch):
    monkeypatch.setattr("tunekit.data.spliced._MOST", 20)
    asked = []

    class Counting:
        def __getattr__(self, name):
            def call(blocks, **kwargs):
                asked.extend(blocks)
                return getattr(TOKENIZERS["metaspace, always"], name)(blocks, **kwargs)

            return call if name.startswith("encode_batch") else getattr(TOKENIZERS["metaspace, always"], name)

    splicer = Splicer(Counting(), TEMPLATE, frozenset())
    same = Marked(f"{START}system{START}a", False, [], [])
    splicer.encode([same, same])
    assert asked == [f"{START}system", f"{START}a"]
    splicer.encode([same])
    assert len(asked) == 4
