"""Prompts with the answer that they should have: the shapes of EBFT (S-EBFT-12)."""

from __future__ import annotations

import pytest
from one_row import BOT, USER, fault, made

from tunekit.data.formats.choose import choose

AGAIN = {"role": "user", "content": "again"}
LAST = {"role": "assistant", "content": "bye"}
TALK = {"messages": [USER, BOT, AGAIN, LAST], "id": 1}
THOUGHT = "<think>\nhm\n</think>\n\nyes"


def test_pairs():
    row = {"prompt": "1+1", "ground_truth": " 2", "difficulty": "low"}
    assert made("ground_truth", row) == row
    opencode = {"input": "write f", "output": "def f(): ..", "unit_tests": "[]"}
    wanted = {"prompt": "write f", "ground_truth": "def f(): ..", "unit_tests": "[]"}
    assert made("ground_truth", opencode, prompt="input", ground_truth="output") == wanted
    rest = row | {"prompt": [USER], "remaining_turns": [AGAIN, LAST]}
    assert made("ground_truth", rest) == rest
    assert made("ground_truth", row | {"system": "s"})["prompt"][0] == {"role": "system", "content": "s"}


def test_the_first_turn_keeps_what_remains():
    got = made("ground_truth", TALK)
    assert got == {"prompt": [USER], "ground_truth": "hello", "remaining_turns": [AGAIN, LAST], "id": 1}
    assert made("ground_truth", {"messages": [USER, BOT]}) == {"prompt": [USER], "ground_truth": "hello"}


def test_the_last_turn():
    assert made("ground_truth", TALK, turns="last") == {"prompt": [USER, BOT, AGAIN], "ground_truth": "bye", "id": 1}
    names = {"messages": "conversations", "role": "from", "content": "value", "turns": "last"}
    row = {"conversations": [{"from": "human", "value": "hi"}, {"from": "gpt", "value": "hello"}]}
    assert made("ground_truth", row, **names) == {"prompt": [USER], "ground_truth": "hello"}


def test_all_turns_are_a_row_each():
    make = choose("ground_truth", {"turns": "all"}, TALK).maker()
    rows = make(TALK)
    assert rows == [
        {"prompt": [USER], "ground_truth": "hello", "id": 1},
        {"prompt": [USER, BOT, AGAIN], "ground_truth": "bye", "id": 1},
    ]
    assert [make(row) for row in rows] == [[row] for row in rows]


def test_thinking():
    for answer in ({"content": THOUGHT}, {"content": "yes", "reasoning_content": "hm"}):
        row = {"messages": [USER, {"role": "assistant", **answer}]}
        assert made("ground_truth", row)["ground_truth"] == THOUGHT
        assert made("ground_truth", row, thinking="drop")["ground_truth"] == "yes"
    assert made("ground_truth", {"prompt": "x", "ground_truth": THOUGHT}, thinking="drop")["ground_truth"] == "yes"
    assert made("ground_truth", {"prompt": "x", "ground_truth": " y "}, thinking="drop")["ground_truth"] == " y "


@pytest.mark.parametrize(
    ("row", "fields", "reason"),
    [
        ({"prompt": "x"}, {}, "has no `ground_truth` (columns: prompt)"),
        ({"ground_truth": "x"}, {}, "has no `prompt`"),
        ({"prompt": "x", "ground_truth": ""}, {}, "`ground_truth` is ''"),
        ({"prompt": "x", "ground_truth": "<think>a</think>"}, {"thinking": "drop"}, "without its thinking is ''"),
        ({"messages": [USER]}, {}, "`messages` has no answer"),
        ({"messages": [BOT, USER]}, {}, "`messages` begins with an answer"),
        ({"messages": [USER, BOT, BOT]}, {"turns": "last"}, "what comes before `messages` turn 2 ends with an assist"),
        ({"messages": [USER, BOT], "prompt": "x"}, {}, "has a column `prompt` of its own"),
        ({"messages": [USER, {"role": "assistant", "content": ""}]}, {}, "`messages` turn 1 is ''"),
        ({"messages": [USER, {"role": "assistant", "content": "", "tool_calls": [{"name": "f"}]}]}, {}, "calls a tool"),
        ({"prompt": "x", "ground_truth": "y", "remaining_turns": ["z"]}, {}, "`remaining_turns` turn 0 is 'z'"),
    ],
)
def test_bad_rows(row, fields, reason):
    assert reason in fault("ground_truth", row, **fields).reason
