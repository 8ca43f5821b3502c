"""`format = "auto"`: what it finds, what it says of it, and when it asks."""

from __future__ import annotations

import pytest
from one_row import BOT, USER, WORSE

from tunekit.data.formats.choose import choose
from tunekit.data.formats.fault import Fault
from tunekit.forms import FORMS

SHAREGPT = [{"from": "human", "value": "hi"}, {"from": "gpt", "value": "hello"}]
NAMES = {"role": "from", "content": "value"}
PAIR = {"chosen": "a", "rejected": "b"}

FOUND = [
    ({"messages": [USER, BOT]}, "chat", {}),
    ({"conversations": SHAREGPT, "id": 1}, "chat", {"messages": "conversations", **NAMES}),
    ({"conversation": [USER], "system": "x"}, "chat", {"messages": "conversation"}),
    ({"instruction": "a", "input": "", "output": "b", "text": "Below is …"}, "alpaca", {}),
    ({"instruction": "a", "context": "", "response": "b"}, "alpaca", {"input": "context", "output": "response"}),
    ({"segments": [{"text": "a", "label": True}], "text": "a"}, "segments", {}),
    ({"prompt": "a", "completion": "b"}, "segments", {}),
    ({"text": "a", "source": "x"}, "completion", {}),
    ({"prompt": "a", "answer": "b"}, "prompt", {}),
    ({"prompt": [USER]}, "prompt", {}),
    ({"prompt": "a", **PAIR}, "preference", {}),
    ({"prompt": "hi", "messages": [USER, BOT], "chosen": [USER, BOT], "rejected": [USER, WORSE]}, "preference", {}),
    ({"question": "a", "system": "", **PAIR}, "preference", {"prompt": "question"}),
    ({"instruction": "a", "chosen_response": "b", "rejected_response": "c"}, "preference",
     {"prompt": "instruction", "chosen": "chosen_response", "rejected": "rejected_response"}),
    ({"chosen": [USER, BOT], "rejected": [USER, WORSE], "score_chosen": 8.0}, "preference", {}),
    ({"conversations": SHAREGPT[:1], "chosen": SHAREGPT[1], "rejected": SHAREGPT[1]}, "preference",
     {"prompt": "conversations", **NAMES}),
    ({"prompt": "a", "completion": "b", "label": True}, "unpaired", {}),
    ({"completion": [USER, BOT], "label": 0}, "unpaired", {}),
    ({"prompt": "a", "completions": ["b"], "labels": [True]}, "stepwise", {}),
    ({"prompt": "a", "ground_truth": "b", "text": "c"}, "ground_truth", {}),
    ({"input_ids": [1, 2], "attention_mask": [1, 1], "labels": [1, 2]}, "tokens", {}),
]  # fmt: skip


@pytest.mark.parametrize(("row", "format", "fields"), FOUND)
def test_found(row, format, fields):
    choice = choose("auto", {}, row)
    said = {key: value for key, value in choice.fields.items() if key != value}
    assert (choice.format, said) == (format, fields)
    choice.maker()(row)
    assert choice.found.startswith(f'columns {", ".join(sorted(row))}: format = "{format}"')


def test_it_says_what_it_found_and_what_it_leaves_beside():
    choice = choose("auto", {}, {"conversations": SHAREGPT, "id": 1, "lang": "en"})
    assert choice.found == (
        'columns conversations, id, lang: format = "chat", fields = { messages = "conversations", role = "from", '
        'content = "value" }; kept beside it: id, lang'
    )
    assert choice.form == "chat" and choose("chat", {}, {"messages": []}).found == ""


@pytest.mark.parametrize(
    ("row", "choices"),
    [
        ({"question": "a", "answer": "b"},
         [("segments", '{ prompt = "question", completion = "answer" }'),
          ("ground_truth", '{ prompt = "question", ground_truth = "answer" }'), ("prompt", '{ prompt = "question" }')]),
        ({"input": "a", "output": "b"},
         [("segments", '{ prompt = "input", completion = "output" }'),
          ("ground_truth", '{ prompt = "input", ground_truth = "output" }')]),
        ({"messages": [USER, BOT], "prompt": "hi"}, [("chat", ""), ("prompt", "")]),
        ({"messages": [USER], "conversations": SHAREGPT},
         [("chat", ""), ("chat", '{ messages = "conversations", role = "from", content = "value" }')]),
        ({"instruction": "a", "input": "b", **PAIR},
         [("preference", '{ prompt = "input" }'), ("preference", '{ prompt = "instruction" }')]),
    ],
)  # fmt: skip
def test_it_asks_when_several_fit(row, choices):
    with pytest.raises(Fault) as e:
        choose("auto", {}, row)
    assert e.value.slug == "ambiguous-format" and e.value.hint.startswith("say which one:\n")
    lines = [f'    format = "{format}"' + (f"\n    fields = {fields}" if fields else "") for format, fields in choices]
    assert e.value.hint.partition("\n")[2] == "\n  or\n".join(lines)


@pytest.mark.parametrize("row", [{}, {"a": 1}, {"messages": "x"}, {"text": None}, {"label": True, "text": 3}])
def test_it_asks_when_none_fits(row):
    with pytest.raises(Fault) as e:
        choose("auto", {}, row)
    assert e.value.slug == "unknown-format" and "columns: " in e.value.reason and 'format = "rows"' in e.value.hint


def test_a_conversation_under_another_name_is_pointed_out():
    with pytest.raises(Fault) as e:
        choose("auto", {}, {"input": [USER], "ideal": "x"})
    assert e.value.hint.endswith(
        '`input` is a conversation:\n    format = "chat"\n    fields = { messages = "input" }\n  or\n'
        '    format = "prompt"\n    fields = { prompt = "input" }'
    )


def test_a_form_is_found_again():
    """A dataset made of another one may be `auto`, too."""
    for row, _, _ in FOUND:
        choice = choose("auto", {}, row)
        (normal,) = choice.maker()(row)
        again = choose("auto", {}, {column: normal.get(column) for column in FORMS[choice.form]})
        assert again.form == choice.form


def test_what_is_of_the_form_already_is_kept():
    assert choose("chat", {}, {}).keeps("chat") and choose("rows", {}, {}).keeps("chat")
    assert not choose("chat", {"role": "from"}, {}).keeps("chat") and not choose("alpaca", {}, {}).keeps("chat")
