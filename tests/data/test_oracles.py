"""Masks against what others say: Transformers' own rendering and assistant masks, and rendering turn by turn."""

# ruff: noqa: RUF001  (DeepSeek writes its markers with a full-width bar)

from __future__ import annotations

import contextlib
from datetime import datetime
from pathlib import Path
from typing import Any

import pytest
from zoo import CONVERSATIONS, encode, folder_of, refusal, templates, text_of, unmarked

import tunekit.data.template as template_module
from tunekit.data.conversation import conversation_of
from tunekit.data.encoder import Encoded
from tunekit.data.template import TemplateRefusal
from tunekit.data.turns import Masks
from tunekit.data.vocabulary import Vocabulary, open_vocabulary

# Refused, and rightly: they print a string's characters one by one (templates of models that see), or no system.
SEEING = ("idefics3", "smolvlm", "llava_next")
MARKED = [name for name in templates() if "generation %}" in templates()[name] or "generation -%}" in templates()[name]]


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory):
    made: dict[str, Path] = {}

    def make(text: str) -> Path:
        if text not in made:
            made[text] = folder_of(tmp_path_factory.mktemp("zoo"), text)
        return made[text]

    return make


@pytest.fixture
def today(monkeypatch):
    """Transformers prints the day that it is."""
    monkeypatch.setattr(template_module, "TEMPLATE_DAY", datetime.now())


def oracle_of(root: Path) -> Any:
    from transformers import AutoTokenizer

    return AutoTokenizer.from_pretrained(root)


def conversation(row: dict[str, Any]) -> dict[str, Any]:
    """The row as Transformers takes it: what the encoder gives the template first."""
    found = conversation_of(row)
    return {"conversation": found.messages, "tools": found.tools}


@pytest.mark.torch
@pytest.mark.parametrize("name", templates())
def test_text_is_transformers_text(name, folder, today):
    """The calls that are put into a template change no character."""
    root = folder(templates()[name])
    mine, theirs = open_vocabulary(root).template, oracle_of(root)
    rendered = 0
    for row in CONVERSATIONS.values():
        given = conversation(row)
        with contextlib.suppress(TemplateRefusal):
            text = mine.trace(given["conversation"], False, given["tools"]).text
            assert text == theirs.apply_chat_template(**given, tokenize=False)
            prompt = mine.trace(given["conversation"], True, given["tools"]).text
            assert prompt == theirs.apply_chat_template(**given, tokenize=False, add_generation_prompt=True)
            rendered += 1
    assert rendered or "llava" in name


@pytest.mark.parametrize("name", MARKED)
@pytest.mark.torch
def test_markers_of_a_template_are_its_masks(name, folder, today):
    root = folder(templates()[name])
    vocabulary, theirs = open_vocabulary(root), oracle_of(root)
    compared = 0
    for row in CONVERSATIONS.values():
        if refusal(vocabulary, row):
            continue
        encoded = encode(vocabulary, row)
        found = theirs.apply_chat_template(**conversation(row), return_dict=True, return_assistant_tokens_mask=True)
        assert encoded.input_ids == found["input_ids"]
        assert [int(on) for on in encoded.labelled] == found["assistant_masks"] and not encoded.straddling
        compared += 1
    assert compared >= 2 or any(word in name for word in SEEING)


# What authors mark beyond what the model writes: a part of the prompt, and what stands behind the end of a turn.
_BEYOND = (
    "<｜Assistant｜>",
    "<｜tool▁outputs▁end｜>",
    "<|start|>assistant",
    "<think>\n\n</think>\n\n",
    "<think>",
    "\n",
    "</s>",
)


@pytest.mark.parametrize("name", MARKED)
def test_derived_masks_agree_with_markers(name, folder):
    """Without its markers, a template gives the same mask but for a part of the prompt and what follows the end."""
    marked = open_vocabulary(folder(templates()[name]))
    derived = open_vocabulary(folder(unmarked(templates()[name])))
    for kind, row in CONVERSATIONS.items():
        if refusal(marked, row):
            continue
        theirs, mine = encode(marked, row), encode(derived, row)
        assert mine.input_ids == theirs.input_ids
        pairs = list(zip(mine.input_ids, mine.labelled, theirs.labelled, strict=True))
        more = text_of(derived, [i for i, a, b in pairs if a and not b])
        # Gemma stops at <|tool_response>, which the markers leave out.
        assert not more or ("gemma" in name and kind == "call"), (kind, more)
        beyond = text_of(derived, [i for i, a, b in pairs if b and not a])
        for piece in _BEYOND:
            beyond = beyond.replace(piece, "")
        assert not beyond, (kind, beyond)
        assert mine.turns == sum(m["role"] == "assistant" for m in row["messages"])


def turn_by_turn(vocabulary: Vocabulary, row: dict[str, Any]) -> list[str] | None:
    """The assistant's turns by rendering prefixes, up to the last special token; None where a prefix is no prefix."""
    found, template = conversation_of(row), vocabulary.template
    messages, _ = Masks(template, "all", ())._render(found)
    text = template.trace(messages, False, found.tools).text
    out = []
    for number, message in enumerate(messages):
        if message["role"] != "assistant":
            continue
        try:
            prompt = template.trace(messages[:number], True, found.tools).text
            upto = template.trace(messages[: number + 1], False, found.tools).text
        except TemplateRefusal:
            return None
        if not (upto.startswith(prompt) and text.startswith(upto)):
            return None
        out.append(upto[len(prompt) :])
    return out


@pytest.mark.parametrize("name", [name for name in templates() if not name.endswith("_training")])
def test_turn_by_turn_where_a_template_is_prefix_stable(name, folder):
    vocabulary = open_vocabulary(folder(unmarked(templates()[name])))
    for kind, row in CONVERSATIONS.items():
        if refusal(vocabulary, row):
            continue
        encoded, wanted = encode(vocabulary, row), turn_by_turn(vocabulary, row)
        assert encoded.labelled.count(True) and not encoded.straddling
        if wanted is not None:
            found = turns_of(vocabulary, encoded)
            assert [len(found), *found] == [len(wanted), *(_cut(vocabulary, turn) for turn in wanted)], kind


def turns_of(vocabulary: Vocabulary, encoded: Encoded) -> list[str]:
    """The labelled tokens as text, by unbroken runs."""
    runs: list[list[int]] = []
    before = False
    for token, on in zip(encoded.input_ids, encoded.labelled, strict=True):
        if on:
            runs = runs if before else [*runs, []]
            runs[-1].append(token)
        before = on
    return [text_of(vocabulary, run) for run in runs]


def _cut(vocabulary: Vocabulary, turn: str) -> str:
    """Up to the last special token if only white space follows it (and Phi-3's end of the text)."""
    turn = turn.removesuffix("\n</s>")
    encoding = vocabulary.tokenizer.encode(turn, add_special_tokens=False)
    last = max((i for i, token in enumerate(encoding.ids) if token in vocabulary.special_ids), default=-1)
    end = encoding.offsets[last][1] if last >= 0 else len(turn)
    return turn if turn[end:].strip() else turn[:end]


def test_what_is_refused(folder):
    """Of all templates and conversations; whoever changes this list changes what users can train on."""
    slugs: dict[str, set[str]] = {}
    for name, text in templates().items():
        if name.startswith("trl/"):
            continue
        for kind, row in CONVERSATIONS.items():
            found = refusal(open_vocabulary(folder(text)), row)
            if found:
                slugs.setdefault(name, set()).add(f"{kind}: {found.slug}")
    calls = "call: tool-calls-dropped"
    assert slugs == {
        "chatml": {calls}, "llama3": {calls}, "phi3": {calls}, "zephyr": {calls}, "alpaca": {calls},
        "mistral": {"call: template-refused"}, "gemma": {"call: template-refused"},
        "deepseek_v3_lenml": {calls}, "smollm2": {calls},
    }  # fmt: skip
