"""Formats without conversations: text, segments, instructions, steps, tokens."""

from __future__ import annotations

import pytest
from one_row import fault, made

PIECES = [{"text": "<s>Hi\n", "train": False}, {"text": "there</s>", "train": True}]
ALPACA = {"instruction": "Add {input}.", "input": "1, 2 ", "output": "3\n"}


def test_completion():
    assert made("completion", {"text": " x\n", "file": "y"}) == {"text": " x\n", "file": "y"}
    assert made("completion", {"content": {"body": "x"}}, text="content.body") == {"text": "x"}


@pytest.mark.parametrize(
    ("row", "reason"),
    [
        ({}, "has no `text` (columns: none)"),
        ({"text": ""}, "`text` is '', not a non-empty string"),
        ({"text": 3}, "`text` is 3"),
        ({"text": None}, "`text` is null"),
        ({"txt": "x"}, "has no `text` (columns: txt); the nearest is `txt`"),
    ],
)
def test_bad_completion(row, reason):
    assert reason in fault("completion", row).reason


def test_segments_are_taken_as_they_are_written():
    row = {"segments": [{"label": False, "text": "<s>Hi\n"}, {"label": True, "text": "there</s>"}], "id": 1}
    assert made("segments", row) == {"segments": PIECES, "end": False, "id": 1}
    assert made("segments", {"parts": PIECES}, segments="parts") == {"segments": PIECES, "end": False}


def test_a_pair_of_texts_is_two_segments_and_an_end():
    wanted = {"segments": [{"text": "q ", "train": False}, {"text": "", "train": True}], "end": True}
    assert made("segments", {"prompt": "q ", "completion": ""}) == wanted
    assert made("segments", {"input": "q ", "output": ""}, prompt="input", completion="output") == wanted


@pytest.mark.parametrize(
    ("row", "reason"),
    [
        ({"text": "x"}, "has no `segments` (columns: text)"),
        ({"segments": []}, "`segments` is [], not a list of segments"),
        ({"segments": ["x"]}, "item 0 is 'x', not a table"),
        ({"segments": [{"text": "x"}]}, "item 0 has no `label`"),
        ({"segments": [{"text": "x", "label": True, "train": True}]}, "item 0 has label and train"),
        ({"segments": [{"text": "x", "label": "yes"}]}, "`label` is 'yes', not true or false"),
        ({"segments": [{"text": None, "label": True}]}, "item 0 `text` is null"),
        ({"segments": [{"text": "", "label": True}]}, "`segments` has no text"),
        ({"segments": [{"text": "x", "label": True, "weight": 2}]}, "item 0 has weight"),
        ({"segments": PIECES, "end": 12.5}, "`end` is 12.5"),
        ({"prompt": "x"}, "has no `completion`"),
        ({"prompt": "x", "completion": ["y"]}, "`completion` is ['y'], not a string"),
    ],
)
def test_bad_segments(row, reason):
    assert reason in fault("segments", row).reason


def test_alpaca_is_a_conversation_in_the_words_of_the_model():
    said = {"role": "user", "content": "Add {input}.\n1, 2 "}
    assert made("alpaca", ALPACA) == {"messages": [said, {"role": "assistant", "content": "3\n"}]}
    for nothing in ({}, {"input": None}, {"input": ""}):
        row = {"instruction": "Go.", "output": "", **nothing}
        assert made("alpaca", row)["messages"][0]["content"] == "Go."
    system = made("alpaca", {**ALPACA, "system": "Be brief."})["messages"][0]
    assert system == {"role": "system", "content": "Be brief."}
    dolly = {"instruction": "Go.", "context": "c", "response": "r", "category": "qa"}
    assert made("alpaca", dolly, input="context", output="response")["category"] == "qa"


def test_alpaca_in_its_own_words():
    """The texts of Stanford Alpaca's train.py (PROMPT_DICT), and a line break before the answer."""
    with_input = made("alpaca", ALPACA, template="alpaca")
    assert with_input == {
        "segments": [
            {
                "text": "Below is an instruction that describes a task, paired with an input that provides further "
                "context. Write a response that appropriately completes the request.\n\n### Instruction:\nAdd {input}."
                "\n\n### Input:\n1, 2 \n\n### Response:\n",
                "train": False,
            },
            {"text": "3\n", "train": True},
        ],
        "end": True,
    }
    without = made("alpaca", ALPACA | {"input": ""}, template="alpaca")["segments"][0]["text"]
    assert without == (
        "Below is an instruction that describes a task. Write a response that appropriately completes the request."
        "\n\n### Instruction:\nAdd {input}.\n\n### Response:\n"
    )


@pytest.mark.parametrize(
    ("row", "fields", "reason"),
    [
        ({"instruction": "x"}, {}, "has no `output`"),
        ({"instruction": "", "output": "x"}, {}, "`instruction` is ''"),
        ({"instruction": "x", "output": None}, {}, "`output` is null"),
        ({"instruction": "x", "output": ["y"]}, {}, "`output` is ['y']"),
        ({"instruction": "x", "output": "y", "input": 3}, {}, "`input` is 3"),
        (ALPACA | {"system": "s"}, {"template": "alpaca"}, "which Alpaca's own template has no place for"),
    ],
)
def test_bad_alpaca(row, fields, reason):
    assert reason in fault("alpaca", row, **fields).reason


STEPS = {"prompt": "1+1+1?", "completions": ["1+1=2", "2+1=4"], "labels": [True, False]}


def test_stepwise():
    assert made("stepwise", STEPS | {"labels": [1, 0], "id": 3}) == STEPS | {"id": 3}
    assert made("stepwise", {"p": "x", "s": ["a"], "l": [True]}, prompt="p", completions="s", labels="l") == {
        "prompt": "x",
        "completions": ["a"],
        "labels": [True],
    }


@pytest.mark.parametrize(
    ("change", "reason"),
    [
        ({"labels": [True]}, "`completions` has 2 steps and `labels` 1 labels"),
        ({"labels": []}, "`labels` is [], not a list of steps"),
        ({"completions": "x"}, "`completions` is 'x', not a list of steps"),
        ({"labels": [True, -1]}, "`labels` step 1 is -1, not true or false"),
        ({"completions": ["a", None]}, "`completions` step 1 is null, not a string"),
        ({"prompt": ["x"]}, "`prompt` is ['x'], not a non-empty string"),
    ],
)
def test_bad_stepwise(change, reason):
    assert reason in fault("stepwise", STEPS | change).reason


CHOICES = {"prompt": "The sky is", "choices": ["blue", "green", "A"], "answer": 0}


@pytest.mark.parametrize(("answer", "number"), [(1, 1), ("green", 1), ("B", 1), ("b ", 1), ("A", 2), ("blue", 0)])
def test_choices(answer, number):
    assert made("choices", CHOICES | {"answer": answer, "id": 3}) == CHOICES | {"answer": number, "id": 3}


@pytest.mark.parametrize(
    ("change", "reason"),
    [
        ({"choices": ["blue"]}, "not a list of two or more"),
        ({"choices": ["blue", ""]}, "`choices` 1 is '', not a non-empty string"),
        ({"answer": 3}, "`answer` is 3, which is none of 3 choices"),
        ({"answer": "D"}, "`answer` is 'D', which is none of 3 choices"),
        ({"answer": True}, "`answer` is True"),
        ({"answer": -1}, "`answer` is -1"),
        ({"prompt": ["x"]}, "`prompt` is ['x'], not a non-empty string"),
    ],
)
def test_bad_choices(change, reason):
    assert reason in fault("choices", CHOICES | change).reason


TOKENS = {"input_ids": [5, 6, 7], "labels": [-100, 6, 7]}


def test_tokens():
    assert made("tokens", TOKENS) == TOKENS
    assert made("tokens", {"input_ids": [5, 6]}) == {"input_ids": [5, 6], "labels": [5, 6]}
    padded = {"input_ids": [0, 5, 6, 7, 0], "labels": [-100, -100, 6, 7, -100], "attention_mask": [0, 1, 1, 1, 0]}
    assert made("tokens", padded | {"prompt_length": 1}) == TOKENS | {"prompt_length": 1}
    assert made("tokens", {"input_ids": [5, 0], "attention_mask": [1, 0]}) == {"input_ids": [5], "labels": [5]}


@pytest.mark.parametrize(
    ("row", "reason"),
    [
        ({"ids": [1]}, "has no `input_ids`"),
        ({"input_ids": []}, "`input_ids` is [], not a list of whole numbers"),
        ({"input_ids": [1, True]}, "not a list of whole numbers"),
        ({"input_ids": [1, -1]}, "`input_ids` has -1 at 1, which is no token"),
        ({"input_ids": [1, 2**40]}, "which is no token"),
        ({"input_ids": [1, 2], "labels": [1]}, "`labels` has 1 items and `input_ids` 2"),
        ({"input_ids": [1, 2], "labels": [2, -100]}, "`labels` is 2 at 0, where `input_ids` is 1"),
        ({"input_ids": [1, 2], "attention_mask": [0, 0]}, "`attention_mask` has no 1 in it"),
        ({"input_ids": [1, 2, 3], "attention_mask": [1, 0, 1]}, "is not ones with zeros around them"),
        ({"input_ids": [1, 2], "attention_mask": [1, 2]}, "is not ones with zeros around them"),
        ({"input_ids": [1, 2], "labels": [1, 2], "attention_mask": [1, 0]}, "`labels` trains on padding"),
    ],
)
def test_bad_tokens(row, reason):
    assert reason in fault("tokens", row).reason


def test_rows_are_any():
    assert made("rows", {"anything": {"a": 1}}) == {"anything": {"a": 1}}
