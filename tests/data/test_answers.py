"""Pairs, verdicts and steps as tokens, against TRL's own preparation."""

from __future__ import annotations

from datetime import datetime
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from zoo import folder_of, templates, text_of

import tunekit.data.template as template_module
from tunekit.data.encoder import Encoded, Encoder
from tunekit.data.vocabulary import Vocabulary, open_vocabulary
from tunekit.errors import ActionError

TEXTS = [
    {"prompt": "what is the sum", "chosen": " of the two numbers", "rejected": " the user"},
    {"prompt": "the sum is ", "chosen": "the user", "rejected": "6"},  # a space that a token of the answer begins with
    {"prompt": "the su", "chosen": "m is 4", "rejected": "n is 4"},  # and the middle of a word
    {"prompt": "say nothing", "chosen": "", "rejected": "the numbers<|im_end|>"},
]
TALK = {
    "prompt": [{"role": "user", "content": "what is the sum"}],
    "chosen": [{"role": "assistant", "content": "the sum is 4"}],
    "rejected": [{"role": "assistant", "content": "the user"}],
}
LONG = {
    "prompt": [
        {"role": "user", "content": "the two numbers"},
        {"role": "assistant", "content": "2 and 2"},
        {"role": "user", "content": "the sum"},
    ],
    "chosen": [
        {"role": "assistant", "content": "the sum is 4"},
        {"role": "user", "content": "what is 4"},
        {"role": "assistant", "content": "the sum"},
    ],
    "rejected": [{"role": "assistant", "content": "the user"}],
}


def both(vocabulary: Vocabulary, row: dict[str, Any], **more: Any) -> list[Encoded]:
    made = [Encoder(vocabulary, "preference", reads=r, **more).encode([row]) for r in ("chosen", "rejected")]
    return [next(found) for found in made]


def trained(vocabulary: Vocabulary, made: Encoded) -> str:
    return text_of(
        vocabulary,
        [i for i, on in zip(made.input_ids, made.labelled, strict=True) if on],
    )


def oracle(root: Path, row: dict[str, Any]) -> list[tuple[list[int], int]]:
    """(input ids, length of the prompt) of both answers, by TRL."""
    from datasets import Dataset
    from transformers import AutoTokenizer
    from trl import DPOTrainer

    tokenizer = AutoTokenizer.from_pretrained(root)
    args = SimpleNamespace(dataset_num_proc=None, max_length=None, truncation_mode="keep_start")
    of = SimpleNamespace(_tokenizer=tokenizer)
    (made,) = DPOTrainer._prepare_dataset(of, Dataset.from_list([row]), tokenizer, args, "train")
    return [(made["prompt_ids"] + made[answer], len(made["prompt_ids"])) for answer in ("chosen_ids", "rejected_ids")]


def test_an_answer_is_trained_and_its_end(vocabulary):
    chosen, rejected = both(vocabulary, TALK)
    assert trained(vocabulary, chosen) == "the sum is 4<|im_end|>"
    assert trained(vocabulary, rejected) == "the user<|im_end|>"
    assert (chosen.turns, chosen.ended) == (1, 1) and not chosen.verdicts


def test_turns_of_the_prompt_are_never_trained(vocabulary):
    chosen, _ = both(vocabulary, LONG)
    assert trained(vocabulary, chosen) == "the sum is 4<|im_end|>the sum<|im_end|>" and chosen.turns == 2
    last, _ = both(vocabulary, LONG, train_on="last")
    assert trained(vocabulary, last) == "the sum<|im_end|>"
    wanting = LONG | {"prompt": [{**m, "train": True} for m in LONG["prompt"]]}
    assert both(vocabulary, wanting)[0].labelled == chosen.labelled


def test_texts(vocabulary):
    assert [trained(vocabulary, made) for row in TEXTS for made in both(vocabulary, row)] == [
        " of the two numbers<|im_end|>",
        " the user<|im_end|>",
        " the user<|im_end|>",
        "6<|im_end|>",
        " sum is 4<|im_end|>",
        "n is 4<|im_end|>",
        "<|im_end|>",
        "the numbers<|im_end|>",
    ]
    assert both(vocabulary, TEXTS[1])[0].notes == ["edge-space"]


@pytest.mark.torch
@pytest.mark.parametrize("row", TEXTS)
def test_texts_are_trls(vocabulary, tokenizer_dir, row):
    """TRL begins both answers where the first of them leaves the prompt's tokens; ours begin each at its own place."""
    theirs = oracle(tokenizer_dir, row)
    ours = both(vocabulary, row)
    assert [made.input_ids for made in ours] == [ids for ids, _ in theirs]
    assert min(made.labelled.index(True) for made in ours) == theirs[0][1]


SEEING = ("idefics3", "smolvlm", "llava_next")  # they print a string's characters one by one, and are refused
ALL = [name for name in templates() if not any(model in name for model in SEEING)]


@pytest.mark.torch
@pytest.mark.parametrize("name", ALL)
def test_all_is_what_trl_trains_on(name, tmp_path, monkeypatch):
    """But where TRL finds the prompt's tokens to end before the prompt does: the white space at its end is another
    token when text follows, or the longer answer is printed without the thinking of the prompt."""
    monkeypatch.setattr(template_module, "TEMPLATE_DAY", datetime.now())
    root = folder_of(tmp_path, templates()[name])
    vocabulary = open_vocabulary(root)
    assert vocabulary.template is not None
    for row in (TALK, LONG):
        prompt = vocabulary.template.render(row["prompt"], True)
        for made, (ids, start) in zip(both(vocabulary, row, train_on="all"), oracle(root, row), strict=True):
            ours = made.labelled.index(True)
            assert made.input_ids == ids and made.labelled == [i >= ours for i in range(len(ids))]
            assert ours == start or (ours > start and prompt.endswith(text_of(vocabulary, ids[start:ours])))


def test_an_answer_with_a_verdict(vocabulary):
    (made,) = Encoder(vocabulary, "unpaired", reads="verdict").encode(
        [{"prompt": TALK["prompt"], "completion": TALK["chosen"], "label": False}]
    )
    chosen, _ = both(vocabulary, TALK)
    assert made == chosen._replace(verdicts=[False])


STEPS = {"prompt": "the two numbers", "completions": ["2 and 2", "", "the sum is\n"], "labels": [True, False, True]}


def test_a_verdict_stands_at_the_end_of_its_step(vocabulary):
    """As TRL's PRMTrainer (0.24, `tokenize_row`) made them: prompt, steps and separators one by one."""
    (made,) = Encoder(vocabulary, "stepwise", reads="steps").encode([STEPS])
    ids, flags = list(vocabulary.tokenizer.encode(STEPS["prompt"]).ids), []
    flags += [False] * len(ids)
    for step in STEPS["completions"]:
        own = vocabulary.tokenizer.encode(step).ids + vocabulary.tokenizer.encode("\n").ids
        ids += own
        flags += [False] * (len(own) - 1) + [True]
    assert made.input_ids == ids and made.labelled == flags and made.verdicts == [True, False, True]


def test_texts_begin_as_the_tokenizer_begins_them(variant):
    root = variant(bos_token="<s>", add_bos_token=True)
    vocabulary = open_vocabulary(root)
    (steps,) = Encoder(vocabulary, "stepwise", reads="steps").encode([STEPS])
    for made in (steps, *both(vocabulary, TEXTS[0])):
        assert made.input_ids[0] == vocabulary.bos_id and not made.labelled[0]
    assert both(vocabulary, TALK)[0].input_ids[0] != vocabulary.bos_id  # a template begins a text itself


@pytest.mark.parametrize(("form", "reads"), [("chat", "chosen"), ("preference", "verdict"), ("unpaired", "loss")])
def test_forms_are_read_by_whom_they_are_for(vocabulary, form, reads):
    with pytest.raises(ActionError, match="have no labels"):
        Encoder(vocabulary, form, reads=reads)


def test_a_conversation_needs_a_template(variant):
    with pytest.raises(ActionError, match="row 0: the row is a conversation") as found:
        both(open_vocabulary(variant(template="")), TALK)
    assert found.value.slug == "no-template" and "chatml" in found.value.hint
