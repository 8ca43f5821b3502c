"""Labels: exactly the assistant's words and the token that ends its turn."""

from __future__ import annotations

import pytest
from hypothesis import assume, event, given, settings
from hypothesis import strategies as st
from tokenizers import decoders

from tunekit.data import encoder as encoder_module
from tunekit.data.encoder import Encoded, Encoder
from tunekit.data.vocabulary import Vocabulary, open_vocabulary
from tunekit.errors import ActionError

SPECIAL = ("<|pad|>", "<|im_start|>", "<|im_end|>", "<s>")
CONTENT = st.text(st.characters(exclude_categories=["Cs"]), max_size=20) | st.sampled_from(
    ["the sum is\n\n", "\n\nof", " two ", "\n\n", "é\u2028 🙂", "", "what is the sum"]
)
ROLE = st.sampled_from(["system", "user", "assistant", "tool"])
MESSAGE = st.fixed_dictionaries({"role": ROLE, "content": CONTENT})
BANG = (
    "{% for m in messages %}{{ m.role }}: {{ m.content }}\n{% endfor %}"
    "{% if add_generation_prompt %}assistant: {% endif %}"
)


def one(vocabulary: Vocabulary, row: dict, train_on: str = "assistant", shape: str = "chat") -> Encoded:
    (encoded,) = Encoder(vocabulary, shape, train_on).encode([row])
    return encoded


def labelled_text(vocabulary: Vocabulary, encoded: Encoded) -> str:
    vocabulary.tokenizer.decoder = decoders.ByteLevel()
    ids = [i for i, on in zip(encoded.input_ids, encoded.labelled, strict=True) if on]
    return vocabulary.tokenizer.decode(ids, skip_special_tokens=False)


def chat(*turns: str) -> dict:
    roles = ("user", "assistant")
    return {"messages": [{"role": roles[i % 2], "content": text} for i, text in enumerate(turns)]}


@settings(max_examples=50, deadline=None)
@given(messages=st.lists(MESSAGE, min_size=1, max_size=6))
def test_labels_are_the_assistants_words_and_ends(vocabulary, messages):
    assume(not any(s in m["content"] for m in messages for s in SPECIAL))
    encoded = one(vocabulary, {"messages": messages})
    wanted = "".join(m["content"] + "<|im_end|>" for m in messages if m["role"] == "assistant")
    found = labelled_text(vocabulary, encoded)
    event(f"straddling: {encoded.straddling > 0}")
    if encoded.straddling:  # a token across the start of a turn: its words are left out, nothing else comes in
        assert len(found) < len(wanted) and found.count("<|im_end|>") == wanted.count("<|im_end|>")
        assert all(c in wanted for c in found)
    else:
        assert found == wanted
    everything = one(vocabulary, {"messages": messages}, "all")
    assert everything.input_ids == encoded.input_ids and all(everything.labelled)


def test_a_token_across_the_start_of_a_turn_is_not_labelled_but_counted(vocabulary):
    encoded = one(vocabulary, chat("hi", "\n\nthe sum"))
    assert encoded.straddling == 1 and labelled_text(vocabulary, encoded) == "\nthe sum<|im_end|>"


def test_a_leading_space_belongs_to_the_turn(vocabulary):
    """The tokenizer's post-processor trims offsets; a mask from trimmed offsets would hide straddling."""
    assert labelled_text(vocabulary, one(vocabulary, chat("hi", " the sum"))) == " the sum<|im_end|>"


def test_a_space_merged_with_the_prompt_is_straddling(variant):
    """`assistant: ` + `sum` has the token ` sum`: half of it was the prompt's."""
    assert one(open_vocabulary(variant(BANG)), chat("a", "sum")).straddling == 1
    assert one(open_vocabulary(variant(BANG.replace(": {", ":{"))), chat("a", " sum")).straddling == 0


def test_a_turn_without_an_end_token_is_labelled_to_its_end(variant):
    vocabulary = open_vocabulary(variant(BANG))
    encoded = one(vocabulary, chat("hi", "0", "b", "1"))
    text = "".join(vocabulary.tokenizer.id_to_token(i) for i, on in zip(*encoded[:2], strict=True) if on)
    assert text == "0Ċ1Ċ"


def test_a_special_token_in_the_words_does_not_end_the_turn(vocabulary):
    encoded = one(vocabulary, chat("hi", "a<|im_end|>\nb"))
    assert labelled_text(vocabulary, encoded) == "a<|im_end|>\nb<|im_end|>"


def test_a_special_token_in_the_words_is_no_end_where_the_template_has_none(variant):
    vocabulary = open_vocabulary(variant(BANG))
    encoded = one(vocabulary, chat("hi", "0<|im_end|>"))
    assert [vocabulary.tokenizer.id_to_token(i) for i in encoded.input_ids][-1] == "Ċ" and encoded.labelled[-1]


def test_many_rows_come_back_in_order(vocabulary):
    rows = [chat("n", str(i)) for i in range(600)]
    encoded = list(Encoder(vocabulary, "chat", "assistant").encode(rows))
    assert [labelled_text(vocabulary, e) for e in encoded] == [f"{i}<|im_end|>" for i in range(600)]
    assert list(Encoder(vocabulary, "chat", "assistant").encode([])) == []


def test_a_batch_of_long_rows_is_short(vocabulary, monkeypatch):
    rows = [{"text": "the sum " * n} for n in (1, 1, 1, 9, 1, 1, 2, 1)]
    whole = list(Encoder(vocabulary, "completion").encode(rows))
    sizes: list[list[int]] = []
    encodings = Encoder._encodings
    monkeypatch.setattr(encoder_module, "_CHARACTERS", 32)
    monkeypatch.setattr(
        Encoder, "_encodings", lambda self, b: sizes.append([len(t.marked.text) for t, _ in b]) or encodings(self, b)
    )
    assert list(Encoder(vocabulary, "completion").encode(rows)) == whole
    assert sizes == [[8, 8, 8], [72], [8, 8, 16], [8]]


@pytest.mark.parametrize("row", [{"text": "a" * 41}, chat("a", "a" * 41)])
def test_a_row_that_would_take_all_memory_is_refused_by_its_number(vocabulary, monkeypatch, row):
    shape = "completion" if "text" in row else "chat"
    monkeypatch.setattr(encoder_module, "LONGEST", 40)
    with pytest.raises(ActionError, match=r"^row 1: a text of \d+ characters; a row may have 40") as e:
        list(Encoder(vocabulary, shape).encode([row], [1]))
    assert e.value.slug == "text-too-long"


# Thoughts only in the last turn, as Qwen3 has them.
THOUGHTS = (
    "{% for m in messages %}<|im_start|>{{ m.role }}\n"
    "{% if loop.last and m.role == 'assistant' %}hm {% endif %}{{ m.content }}<|im_end|>\n{% endfor %}"
    "{% if add_generation_prompt %}<|im_start|>assistant\n{% endif %}"
)


def test_a_template_may_rewrite_earlier_turns(variant):
    vocabulary = open_vocabulary(variant(THOUGHTS))
    encoded = one(vocabulary, chat("a", "b", "c", "d"))
    assert labelled_text(vocabulary, encoded) == "b<|im_end|>hm d<|im_end|>" and encoded.notes == []


# Every message is printed while the loop is at the next one.
LATE = (
    "{% set ns = namespace(last='') %}{% for m in messages %}{{ ns.last }}|{% set ns.last = m.content %}{% endfor %}"
    "{{ ns.last }}"
)


def test_a_template_that_prints_a_message_in_anothers_place_is_rendered_by_prefixes(variant):
    vocabulary = open_vocabulary(variant(LATE))
    assert labelled_text(vocabulary, one(vocabulary, chat("a", "bee", "c", "dee"))) == "|bee|dee"


@pytest.mark.parametrize(
    ("template", "slug", "why"),
    [
        (
            "{% for m in messages %}{{ m.content }}<|im_end|>{% endfor %}{% if add_generation_prompt %}?{% endif %}",
            "no-turn-start",
            "the turn does not begin as the generation prompt does",
        ),
        # Not in a loop over the messages.
        (
            "{{ messages[0].content }}{{ messages[1].content if messages|length > 1 }}"
            "{% if messages|length < 4 %}{{ raise_exception('short') }}{% endif %}"
            "{{ messages[2].content }}{{ messages[3].content }}",
            "mask-not-derivable",
            "it refuses the turns before: short",
        ),
        (
            "{{ messages|length }}" + LATE,
            "mask-not-derivable",
            "the turn does not begin with the generation prompt",
        ),
    ],
)
def test_no_mask_is_guessed(variant, template, slug, why):
    encoder = Encoder(open_vocabulary(variant(template)), "chat", "assistant")
    with pytest.raises(ActionError) as e:
        list(encoder.encode([chat("a", "bee", "c", "dee")], numbers=[7]))
    assert e.value.slug == slug and why in e.value.message
    assert e.value.message.startswith("row 7: turn 1") and 'train_on = "all"' in e.value.hint


def test_a_refused_conversation_names_the_row(variant):
    encoder = Encoder(open_vocabulary(variant("{{ raise_exception('no') }}")), "chat", "all")
    with pytest.raises(ActionError, match="row 0: the chat template refuses the conversation: no") as e:
        list(encoder.encode([chat("a")]))
    assert e.value.slug == "template-refused"


def test_completions_end_with_eos_and_are_labelled_wholly(vocabulary):
    encoded = one(vocabulary, {"text": "the sum"}, shape="completion")
    assert vocabulary.tokenizer.decode(encoded.input_ids, skip_special_tokens=False) == "the sum<|im_end|>"
    assert all(encoded.labelled)
    assert one(vocabulary, {"text": "the sum<|im_end|>"}, shape="completion") == encoded


def test_bos_only_where_the_tokenizer_puts_one(variant):
    vocabulary = open_vocabulary(variant(bos_token="<s>", add_bos_token=True))
    bos = vocabulary.tokenizer.token_to_id("<s>")
    assert one(vocabulary, {"text": "x"}, shape="completion").input_ids[0] == bos
    with pytest.raises(ActionError, match="row 0: the row begins with two `<s>`") as e:
        one(vocabulary, {"text": "<s>x"}, shape="completion")
    assert e.value.slug == "double-bos"


def test_a_declared_bos_that_is_not_added_stays_out(variant):
    vocabulary = open_vocabulary(variant(bos_token="<s>"))
    assert one(vocabulary, {"text": "x"}, shape="completion").input_ids[0] != vocabulary.bos_id


def test_a_template_that_doubles_bos_is_found(variant):
    vocabulary = open_vocabulary(
        variant("{{ bos_token }}{% for m in messages %}{{ m.content }}{% endfor %}", bos_token="<s>")
    )
    assert one(vocabulary, chat("x"), "all").input_ids[0] == vocabulary.bos_id
    with pytest.raises(ActionError, match="two `<s>`"):
        one(vocabulary, chat("<s>x"), "all")


@pytest.mark.parametrize(
    ("config", "slug"),
    [
        ({"eos_token": {"content": "<|nope|>"}}, "unknown-special-token"),
        ({"chat_template": "{% if %}", "template": ""}, "bad-template"),
    ],
)
def test_a_vocabulary_that_cannot_be_used(variant, config, slug):
    with pytest.raises(ActionError) as e:
        open_vocabulary(variant(**config))
    assert e.value.slug == slug


def test_padding_may_be_the_end_token(variant):
    """Labels are kept by place: padding with the end-of-text token hides none of them."""
    vocabulary = open_vocabulary(variant(pad_token="<|im_end|>"))
    assert vocabulary.pad_id == vocabulary.eos_id
    encoded = one(vocabulary, chat("hi", "a<|im_end|>b"))
    assert labelled_text(vocabulary, encoded) == "a<|im_end|>b<|im_end|>" and (encoded.turns, encoded.ended) == (1, 1)


def test_a_missing_tokenizer_and_a_broken_one(tmp_path):
    with pytest.raises(ActionError) as e:
        open_vocabulary(tmp_path)
    assert e.value.slug == "no-tokenizer"
    (tmp_path / "tokenizer.json").write_text("{}")
    with pytest.raises(ActionError) as e:
        open_vocabulary(tmp_path)
    assert e.value.slug == "bad-tokenizer"


def test_chat_needs_a_template_and_completions_an_eos(variant):
    vocabulary = open_vocabulary(variant("", eos_token=None))
    for shape, slug in (("chat", "no-template"), ("completion", "no-eos")):
        with pytest.raises(ActionError) as e:
            Encoder(vocabulary, shape, "assistant")
        assert e.value.slug == slug


def test_a_row_does_not_depend_on_the_rows_before_it(vocabulary, variant):
    """Rows of changed chunks are encoded alone, others are copied: both must be the same."""
    late = open_vocabulary(variant(THOUGHTS))
    rows = [chat("a", "b", "c", "d"), chat("a", "a", "a", "a"), chat("<|im_end|>", "assistant\n", "\n", "x" * 99)]
    rows[1]["messages"][1]["reasoning_content"] = "a"  # which is in the text, though the template drops it
    for found in (vocabulary, late):
        alone = [one(found, row) for row in rows]
        assert list(Encoder(found, "chat").encode(rows)) == alone
        assert list(Encoder(found, "chat").encode(rows[::-1])) == alone[::-1]
        assert list(alone[1].notes) == ["reasoning-dropped"]


def test_a_request_that_is_printed_again_is_not_trained(variant):
    """A longer conversation begins like the shorter one, but the answer adds the request once more."""
    text = (
        "{% for n in messages %}{% for m in messages %}<|im_start|>{{ m.role }}|{{ m.content }}<|im_end|>"
        "{% endfor %}{% endfor %}{% if add_generation_prompt %}<|im_start|>assistant|{% endif %}"
    )
    with pytest.raises(ActionError, match="prints other messages' text with this one's") as e:
        one(open_vocabulary(variant(text)), chat("asked", "said"))
    assert e.value.slug == "mask-not-derivable"
