"""Conversations: every name and shape that they come in, and what is wrong with the others."""

from __future__ import annotations

import json

import pytest
from one_row import BOT, USER, fault, made

from tunekit.data.formats.stored import open_messages, open_tools

SHAREGPT = {"conversations": [{"from": "human", "value": " hi\n"}, {"from": "gpt", "value": ""}], "id": "7"}
NAMES = {"messages": "conversations", "role": "from", "content": "value"}
CALL = {"id": "c1", "type": "function", "function": {"name": "add", "arguments": {"b": 1, "a": None}}}
TOOL = {"role": "tool", "content": "3", "tool_call_id": "c1", "name": "add"}
TEXT = {"type": "text", "text": "a"}


def turns(*messages: dict, **fields) -> list[dict]:
    return made("chat", {"messages": list(messages)}, **fields)["messages"]


def test_what_is_of_the_form_stays_and_other_columns_are_kept():
    row = {"messages": [USER, BOT], "id": 3, "tags": {"a": None}}
    assert made("chat", row) == row


def test_sharegpt_by_name_keeps_white_space_and_empty_answers():
    assert made("chat", SHAREGPT, **NAMES) == {
        "messages": [{"role": "user", "content": " hi\n"}, {"role": "assistant", "content": ""}],
        "id": "7",
    }


@pytest.mark.parametrize("known", ["gpt", "model", "assistant"])
def test_role_names(known):
    assert turns(USER, {"role": known, "content": "x"})[1]["role"] == "assistant"
    assert turns({"role": "ai", "content": "x"}, roles={"ai": "assistant"}) == [{"role": "assistant", "content": "x"}]


def test_nested_paths_leave_the_rest_of_the_table():
    row = {"data": {"turns": [USER], "id": 1}, "source": "x"}
    wanted = {"messages": [USER], "data": {"id": 1}, "source": "x"}
    assert made("chat", row, messages="data.turns") == wanted
    assert made("chat", {"data": {"turns": [USER]}}, messages="data.turns") == {"messages": [USER]}
    assert made("chat", {"data.turns": [USER]}, messages="data.turns") == {"messages": [USER]}, "a name with a dot"


def test_a_system_column_is_the_first_turn():
    first = {"role": "system", "content": "Be brief."}
    assert made("chat", {"system": "Be brief.", "messages": [USER]}) == {"messages": [first, USER]}
    for nothing in (None, ""):
        assert made("chat", {"system": nothing, "messages": [USER]}) == {"messages": [USER]}
    reason = fault("chat", {"system": "x", "messages": [first, USER]}).reason
    assert reason == "has a `system` column and a system turn"


def test_parts_are_joined_and_keep_what_is_trained():
    content = [TEXT | {"train": False}, {"type": "text", "value": "b ", "weight": 1}, {"content": "c"}]
    (turn,) = turns({"role": "assistant", "content": content})
    parts = [{"text": "a", "train": False}, {"text": "b ", "train": True}, {"text": "c"}]
    assert turn == {"role": "assistant", "content": "ab c", "parts": parts}
    assert turns({"role": "user", "content": [TEXT, TEXT | {"image_url": None}]}) == [{"role": "user", "content": "aa"}]
    assert turns({"role": "model", "parts": [{"text": "a"}]}) == [{"role": "assistant", "content": "a"}], "Gemini's"


def test_reasoning_may_have_parts_of_its_own():
    thought = [{"text": "so ", "train": False}, {"text": "4"}]
    (turn,) = turns({"role": "assistant", "content": "four", "reasoning_content": thought})
    assert turn["reasoning_content"] == "so 4" and turn["reasoning_parts"] == thought
    assert turns({**USER, "reasoning_content": ""}) == [USER], "an empty one on another's turn says nothing"
    assert turns({**BOT, "reasoning_content": ""})[0]["reasoning_content"] == ""


def test_train_weight_and_stretches():
    assert [t.get("train") for t in turns({**USER, "train": True}, {**BOT, "weight": 0}, BOT)] == [True, False, None]
    assert turns({**BOT, "mask": 0, "train": None}, train="mask")[0] == {**BOT, "train": False}
    detail = [{"begin_offset": 3, "end_offset": 4, "train": True}, {"begin_offset": 0, "end_offset": 0, "train": 0}]
    (turn,) = turns({**BOT, "train_detail": detail})
    pieces = [("h", False), ("el", False), ("lo", True)]
    assert turn == {**BOT, "parts": [{"text": t, "train": on} for t, on in pieces]}
    assert turns({**BOT, "train_detail": []}) == [BOT]


def test_tools_and_calls_are_kept_as_text_and_opened_again():
    tools = [{"type": "function", "function": {"name": "add", "parameters": {"z": 1, "a": [None]}}}]
    row = {"messages": [USER, {"role": "assistant", "content": None, "tool_calls": [CALL]}, TOOL], "tools": tools}
    got = made("chat", row)
    stored = got["messages"][1]
    assert stored["tool_calls"][0]["function"]["arguments"] == '{"b": 1, "a": null}', "order and null are kept"
    assert stored["content"] is None and got["messages"][2] == TOOL
    assert open_tools(got["tools"]) == tools
    assert open_messages(got["messages"]) == row["messages"]
    short = [{"name": "add", "arguments": '{"a": 1}'}]
    (turn,) = turns({"role": "assistant", "content": "", "tool_calls": short})
    assert turn["tool_calls"] == [{"type": "function", "function": short[0]}]
    as_text = made("chat", {"messages": [USER], "functions": json.dumps(tools)}, tools="functions")
    assert open_tools(as_text["tools"]) == tools
    written = [{"function": {"name": "add", "parameters": '{"a": 1}'}}]
    assert open_tools(made("chat", {"messages": [USER], "tools": written})["tools"]) == [
        {"function": {"name": "add", "parameters": {"a": 1}}}
    ]
    assert made("chat", {"messages": [{**USER, "tool_calls": []}], "tools": []}) == {"messages": [USER]}


def test_opened_messages_have_parts_as_their_content_and_no_nulls():
    stored = [{**BOT, "parts": [{"text": "hello", "train": None}], "name": None, "train": None}, USER]
    assert open_messages(stored) == [{"role": "assistant", "content": [{"type": "text", "text": "hello"}]}, USER]


def test_null_is_missing_and_unknown_keys_are_for_the_template():
    nulls = dict.fromkeys(("name", "tool_calls", "train", "weight", "parts", "reasoning_content", "citations"))
    assert turns({**USER, **nulls}, {**BOT, "citations": [1]}) == [USER, {**BOT, "citations": [1]}]


BAD = [
    ({"text": "x"}, "has no `messages` (columns: text)"),
    ({"message": [USER]}, "has no `messages` (columns: message); the nearest is `message`"),
    ({"data": {"messages": [USER]}}, "the nearest is `data.messages`"),
    ({"messages": None}, "`messages` is null"),
    ({"messages": "x"}, "`messages` is 'x', not a list"),
    ({"messages": []}, "`messages` is an empty list"),
    ({"messages": ["x"]}, "turn 0 is 'x', not a table"),
    ({"messages": [USER, {"role": "bot", "content": ""}]}, "turn 1 has role 'bot', not one of system, user"),
    ({"messages": [{"role": ["user"], "content": ""}]}, "turn 0 has role ['user']"),
    ({"messages": [{"from": "human", "content": ""}]}, "turn 0 has no `role` (keys: content, from)"),
    ({"messages": [{"role": "user"}]}, "turn 0 has no `content` (keys: role)"),
    ({"messages": [{"role": "assistant", "content": None}]}, "turn 0 has content null"),
    ({"messages": [{"role": "user", "content": 3}]}, "turn 0 has content 3, not a string or a list"),
    ({"messages": [{"role": "user", "content": ["x"]}]}, "content part 0 is 'x', not a table"),
    ({"messages": [{"role": "user", "content": [{"type": "image"}]}]}, "content part 0 has type 'image'"),
    ({"messages": [{"role": "user", "content": [{"text": "a", "value": "b"}]}]}, "part 0 has text and value"),
    ({"messages": [{"role": "user", "content": [{}]}]}, "part 0 has no text"),
    ({"messages": [{"role": "user", "content": [{"text": 1}]}]}, "part 0 `text` is 1, not a string"),
    ({"messages": [{"role": "user", "content": [{"text": "a", "trian": 0}]}]}, "part 0 has 'trian'"),
    ({"messages": [{**BOT, "parts": [{"text": "no"}]}]}, "`parts` put together are not its `content`"),
    ({"messages": [{**BOT, "train": "no"}]}, "turn 0 `train` is 'no', not true or false"),
    ({"messages": [{**BOT, "weight": 0.5}]}, "turn 0 `weight` is 0.5, not true or false"),
    ({"messages": [{**BOT, "train": True, "weight": 0}]}, "`train` and `weight` that contradict"),
    ({"messages": [{**BOT, "trian": False}]}, "turn 0 has `trian`, which is not `train`"),
    ({"messages": [{**BOT, "training": False}]}, "turn 0 has `training`, which is not `train`"),
    ({"messages": [{**BOT, "train_detail": {}}]}, "`train_detail` is {}, not a list"),
    ({"messages": [{**BOT, "train_detail": 3}]}, "`train_detail` is 3, not a list"),
    ({"messages": [{**BOT, "train_detail": [{"begin_offset": 4, "end_offset": 5}]}]}, "4 to 5 of 5 characters"),
    ({"messages": [{**BOT, "train_detail": [{"begin_offset": 0, "end_offset": 1, "train": 1}] * 2}]}, "overlap"),
    ({"messages": [{**USER, "reasoning_content": "hm"}]}, "turn 0 is a user's and has tool calls or reasoning"),
    ({"messages": [{**BOT, "name": 3}]}, "turn 0 `name` is 3"),
    ({"messages": [{**BOT, "tool_calls": {}}]}, "`tool_calls` is {}, not a list"),
    ({"messages": [{**BOT, "tool_calls": [{"name": "f", "arguments": "{"}]}]}, "`arguments` is '{', not JSON"),
    ({"messages": [{**BOT, "tool_calls": [{"name": "f", "arguments": "[]"}]}]}, "not JSON text of a table"),
    ({"messages": [{**BOT, "tool_calls": [{"name": "f", "arguments": 3}]}]}, "`arguments` is 3, not a table"),
    ({"messages": [{**BOT, "tool_calls": [{"arguments": {}}]}]}, "call 0 `name` is null"),
    ({"messages": [{**BOT, "tool_calls": [{"function": "f"}]}]}, "`function` is 'f', not a table"),
    ({"messages": [USER], "tools": "nope"}, "`tools` is 'nope', not JSON"),
    ({"messages": [USER], "tools": ["f"]}, "`tools` is ['f'], not a list of tables"),
    ({"messages": [USER], "system": 3}, "`system` is 3, not a string"),
]


@pytest.mark.parametrize(("row", "reason"), BAD, ids=lambda v: v[:40] if isinstance(v, str) else "")
def test_bad_rows(row, reason):
    assert reason in fault("chat", row).reason


def test_a_column_in_the_way_is_not_lost():
    row = SHAREGPT | {"messages": "a summary"}
    assert "has a column `messages` of its own" in fault("chat", row, **NAMES).reason
    row = {"conversations": [{"from": "human", "value": "x", "role": "user"}]}
    assert "turn 0 has a key `role` of its own" in fault("chat", row, **NAMES).reason


def test_a_row_is_not_read_by_two_names():
    """Else the row that comes out would be another one when it is read again."""
    row = {"messages": [USER], "about": "Be brief.", "system": "x"}
    assert "has a column `system` of its own" in fault("chat", row, system="about").reason
    assert made("chat", row | {"system": None}, system="about")["messages"][0]["content"] == "Be brief."


def test_the_way_out_is_the_line_to_write():
    hint = fault("chat", SHAREGPT).hint
    assert hint == 'fields = { messages = "conversations", role = "from", content = "value" }, or write a `map`'
    assert "fields.roles = { 'bot' = \"user\" }" in fault("chat", {"messages": [{"role": "bot", "content": ""}]}).hint


def test_a_long_value_is_cut_in_the_message():
    assert len(fault("chat", {"messages": "x" * 10_000_000}).reason) < 120
