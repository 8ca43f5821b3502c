"""Prompts and answers to them: preference pairs, verdicts on one answer, and prompts alone."""

from __future__ import annotations

import pytest
from one_row import BOT, USER, WORSE, fault, made

SYSTEM = {"role": "system", "content": "Be brief."}
PAIR = {"chosen": "hello", "rejected": "what"}
LISTS = {"prompt": [USER], "chosen": [BOT], "rejected": [WORSE]}
STRINGS = {"prompt": "hi", **PAIR}

# Every variant of S-PREF-03, and of TRL: (row, fields, the row of the form)
PREFERENCE = [
    ("strings", STRINGS, {}, STRINGS),
    ("extra columns stay", STRINGS | {"margin": 0.5}, {}, STRINGS | {"margin": 0.5}),
    ("question", {"question": "hi", **PAIR}, {"prompt": "question"}, STRINGS),
    ("argilla", {"instruction": "hi", "chosen_response": "hello", "rejected_response": "what"},
     {"prompt": "instruction", "chosen": "chosen_response", "rejected": "rejected_response"}, STRINGS),
    ("icr with a system text", {"system": "Be brief.", "input": "hi", **PAIR}, {"prompt": "input"},
     LISTS | {"prompt": [SYSTEM, USER]}),
    ("icr without one", {"system": "", "input": "hi", **PAIR}, {"prompt": "input"}, LISTS),
    ("messages", LISTS, {}, LISTS),
    ("chat_template.default", {"messages": [SYSTEM, USER], "chosen": BOT, "rejected": WORSE}, {"prompt": "messages"},
     LISTS | {"prompt": [SYSTEM, USER]}),
    ("a prompt of messages and answers of text", LISTS | PAIR, {}, LISTS),
    ("a prompt of text and answers of messages", LISTS | {"prompt": "hi"}, {}, LISTS),
    ("argilla_chat: the prompt is in the answers", {"chosen": [USER, BOT], "rejected": [USER, WORSE]}, {}, LISTS),
    ("ultra: the prompt is there and in the answers", {"prompt": "hi", "chosen": [USER, BOT],
     "rejected": [USER, WORSE]}, {}, LISTS),
    ("several turns", {"chosen": [SYSTEM, USER, BOT, USER, BOT], "rejected": [SYSTEM, USER, BOT, USER, WORSE]}, {},
     LISTS | {"prompt": [SYSTEM, USER, BOT, USER]}),
    ("the same twice", {"chosen": [USER, BOT], "rejected": [USER, BOT]}, {}, LISTS | {"rejected": [BOT]}),
    ("field mapping", {"conversations": [{"from": "human", "value": "hi"}],
     "chosen": {"from": "gpt", "value": "hello"}, "rejected": {"from": "gpt", "value": "what"}},
     {"prompt": "conversations", "role": "from", "content": "value"}, LISTS),
    ("an empty answer", STRINGS | {"rejected": ""}, {}, STRINGS | {"rejected": ""}),
    ("tools", LISTS | {"tools": [{"name": "f"}]}, {}, LISTS | {"tools": '[{"name": "f"}]'}),
]  # fmt: skip


@pytest.mark.parametrize(("row", "fields", "wanted"), [p[1:] for p in PREFERENCE], ids=[p[0] for p in PREFERENCE])
def test_preference(row, fields, wanted):
    assert made("preference", row, **fields) == wanted


BAD_PREFERENCE = [
    ({"prompt": "hi", "chosen": "x"}, "has no `rejected` (columns: chosen, prompt)"),
    ({"prompt": "hi", "chosen": "x", "rejected": None}, "`rejected` is null"),
    (PAIR, "has no `prompt`"),
    ({"prompt": "", **PAIR}, "`prompt` is '', not a non-empty string"),
    ({"chosen": [BOT], "rejected": [WORSE]}, "has no `prompt`"),
    ({"prompt": 3, **PAIR}, "`prompt` is 3, not a list"),
    ({"chosen": [USER, BOT], "rejected": [{**USER, "content": "no"}, BOT]}, "do not begin with the same prompt"),
    ({"chosen": [USER, BOT], "rejected": [WORSE]}, "do not begin with the same prompt"),
    ({"chosen": [USER, USER], "rejected": [USER, BOT]}, "`chosen` has a user's turn after the prompt (1 turns)"),
    ({"prompt": "ho", "chosen": [USER, BOT], "rejected": [USER, WORSE]}, "the prompt is 'ho', but `chosen` and"),
    ({"chosen": [USER], "rejected": [USER]}, "do not begin with the same prompt"),
    (LISTS | {"prompt": [SYSTEM, USER], "system": "x"}, "has a `system` column and a system turn"),
]


@pytest.mark.parametrize(("row", "reason"), BAD_PREFERENCE)
def test_bad_preference(row, reason):
    assert reason in fault("preference", row).reason


def test_one_kind_for_the_whole_dataset():
    """A system column makes a conversation of every row that has it, null or not; `fields` of all others, too."""
    assert made("preference", STRINGS | {"system": None}) == LISTS
    assert made("preference", STRINGS, system="system") == LISTS
    assert made("preference", STRINGS | {"about": None}, system="about") == LISTS


def test_bradley_terry_is_always_a_conversation():
    row = {"system": "Be brief.", "input": "hi", **PAIR}
    assert made("bradley_terry", row) == LISTS | {"prompt": [SYSTEM, USER]}
    assert made("bradley_terry", {"input": "hi", **PAIR}) == LISTS
    assert made("bradley_terry", {"q": "hi", **PAIR}, input="q") == LISTS
    assert "has no `input`" in fault("bradley_terry", STRINGS).reason
    assert (
        "`chosen` is [], not a string" in fault("bradley_terry", {"input": "hi", "chosen": [], "rejected": ""}).reason
    )


UNPAIRED = {"prompt": "hi", "completion": "hello", "label": True}


@pytest.mark.parametrize(
    ("row", "fields", "wanted"),
    [
        (UNPAIRED, {}, UNPAIRED),
        (UNPAIRED | {"label": 0, "score": 2}, {}, UNPAIRED | {"label": False, "score": 2}),
        ({"question": "hi", "completion": "hello", "good": True}, {"prompt": "question", "label": "good"}, UNPAIRED),
        ({"prompt": [USER], "completion": BOT, "label": True}, {},
         {"prompt": [USER], "completion": [BOT], "label": True}),
        ({"completion": [USER, BOT], "label": True}, {}, {"prompt": [USER], "completion": [BOT], "label": True}),
        ({"completion": [SYSTEM, USER, BOT, USER, BOT, BOT], "label": True}, {},
         {"prompt": [SYSTEM, USER, BOT, USER], "completion": [BOT, BOT], "label": True}),
        (UNPAIRED | {"system": "Be brief."}, {}, {"prompt": [SYSTEM, USER], "completion": [BOT], "label": True}),
    ],
)  # fmt: skip
def test_unpaired(row, fields, wanted):
    assert made("unpaired", row, **fields) == wanted


@pytest.mark.parametrize(
    ("row", "reason"),
    [
        ({"prompt": "hi", "completion": "x"}, "has no `label`"),
        (UNPAIRED | {"label": None}, "`label` is null"),
        (UNPAIRED | {"label": "true"}, "`label` is 'true', not true or false"),
        (UNPAIRED | {"label": 3}, "`label` is 3"),
        ({"completion": "x", "label": True}, "has no `prompt`"),
        ({"completion": [USER], "label": True}, "`completion` has no answer after the prompt"),
    ],
)
def test_bad_unpaired(row, reason):
    assert reason in fault("unpaired", row).reason


@pytest.mark.parametrize(
    ("row", "fields", "wanted"),
    [
        ({"prompt": " 1+1 ", "answer": 2, "tests": {"a": [1]}}, {},
         {"prompt": " 1+1 ", "answer": 2, "tests": {"a": [1]}}),
        ({"prompt": [SYSTEM, USER]}, {}, {"prompt": [SYSTEM, USER]}),
        ({"question": "hi", "answer": "x"}, {"prompt": "question"}, {"prompt": "hi", "answer": "x"}),
        ({"prompt": "hi", "system": "Be brief."}, {}, {"prompt": [SYSTEM, USER]}),
        ({"prompt": "hi", "about": "Be brief."}, {"system": "about"}, {"prompt": [SYSTEM, USER]}),
        ({"prompt": USER}, {}, {"prompt": [USER]}),
        ({"prompt": "hi", "tools": ["a"], "completion": None}, {},
         {"prompt": "hi", "tools": ["a"], "completion": None}),
    ],
)  # fmt: skip
def test_prompt(row, fields, wanted):
    assert made("prompt", row, **fields) == wanted


@pytest.mark.parametrize(
    ("row", "reason"),
    [
        ({"question": "x"}, "has no `prompt` (columns: question)"),
        ({"promt": "x"}, "the nearest is `promt`"),
        ({"prompt": ""}, "`prompt` is ''"),
        ({"prompt": [{"role": "user"}]}, "`prompt` turn 0 has no `content`"),
        ({"prompt": [USER, BOT]}, "ends with an assistant's turn"),
    ],
)
def test_bad_prompt(row, reason):
    assert reason in fault("prompt", row).reason
