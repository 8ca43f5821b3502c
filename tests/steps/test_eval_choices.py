"""Multiple choice: every log-likelihood against a plain forward pass, accuracies against counting by hand."""

from __future__ import annotations

import json
import os
from typing import Any

os.environ.setdefault("HF_HUB_OFFLINE", "1")

import pytest

from tunekit.data.vocabulary import open_vocabulary
from tunekit.engine.prompts import prompt_of
from tunekit.errors import ActionError
from tunekit.protocol import Input
from tunekit.steps.eval.choices import Ranked, figures_of, sequence_of
from tunekit.steps.eval.run import run

pytestmark = pytest.mark.torch
ROWS = [
    {"prompt": "The sky is", "choices": ["blue", "green as grass"], "answer": 0},
    {"prompt": "Two and two is ", "choices": ["four", "é", "twenty-two"], "answer": 1},
    {"prompt": "A cat says", "choices": [" meow", "woof"], "answer": 1},
]


@pytest.fixture(scope="module")
def base(byte_model: str) -> Input:
    return Input(byte_model, "sha256:" + "1" * 64, "model", "model:tiny")


def results(room: Any, spec: dict[str, Any], inputs: dict[str, Any]) -> tuple[dict[str, Any], list[dict[str, Any]]]:
    made = room(run, {"model": "model:m", "data": ["dataset:d"], "measure": "choices"} | spec, inputs)
    lines = (made.main / "samples.jsonl").read_text().splitlines()
    return json.loads((made.main / "results.json").read_text()), [json.loads(line) for line in lines]


def test_log_likelihoods_are_those_of_a_plain_forward_pass(room: Any, dataset: Any, base: Input) -> None:
    import torch
    from transformers import AutoModelForCausalLM

    figures, samples = results(room, {"micro_batch_size": 2}, {"base": [base], "data": [dataset(ROWS, "choices", 2)]})
    model: Any = AutoModelForCausalLM.from_pretrained(base.path)
    tokenizer = open_vocabulary(base.path).tokenizer
    gaps = [" ", "", ""]
    right = []
    for row, sample, gap in zip(ROWS, samples, gaps, strict=True):
        expected = []
        for i, choice in enumerate(row["choices"]):
            between = " " if row is ROWS[2] and i == 1 else gap
            before = tokenizer.encode(row["prompt"], add_special_tokens=False).ids
            ids = tokenizer.encode(row["prompt"] + between + choice, add_special_tokens=False).ids
            with torch.no_grad():
                logp = model(input_ids=torch.tensor([ids])).logits.float().log_softmax(-1)[0]
            expected.append(sum(logp[t - 1, ids[t]].item() for t in range(len(before), len(ids))))
        assert sample["logprobs"] == pytest.approx(expected, rel=1e-5)
        assert sample["picked"] == max(range(len(expected)), key=expected.__getitem__)
        lengths = [len(choice.encode()) for choice in row["choices"]]
        normed = [p / n for p, n in zip(expected, lengths, strict=True)]
        assert sample["picked_norm"] == max(range(len(normed)), key=normed.__getitem__)
        right.append(sample["picked"] == row["answer"])
    assert figures["n"] == 3 and figures["accuracy"] == pytest.approx(sum(right) / 3)


def test_limit_and_batches_change_nothing_else(room: Any, dataset: Any, base: Input) -> None:
    data = [dataset(ROWS[:1], "choices"), dataset(ROWS[1:], "choices")]
    _, one = results(room, {"micro_batch_size": 1, "limit": 2}, {"base": [base], "data": data})
    _, many = results(room, {"micro_batch_size": 16}, {"base": [base], "data": data})
    assert len(one) == 2
    for a, b in zip(one, many, strict=False):
        assert a["logprobs"] == pytest.approx(b["logprobs"], rel=1e-5)


def test_figures() -> None:
    found = figures_of([Ranked(0, 1, 1, 0, []), Ranked(1, 0, 1, 0, []), Ranked(2, 2, 2, 2, []), Ranked(3, 0, 0, 0, [])])
    assert found == {
        "n": 4, "accuracy": 0.75, "accuracy_norm": 0.75,
        "accuracy_stderr": pytest.approx(0.25), "accuracy_norm_stderr": pytest.approx(0.25),
    }  # fmt: skip


def test_a_choice_joins_its_prompt(base: Input) -> None:
    vocabulary = open_vocabulary(base.path)._replace(adds_bos=True, bos_id=1)
    prompt = prompt_of({"prompt": "ab"}, vocabulary, "row 0")
    ids, labels = sequence_of(prompt, "cd", vocabulary, "row 0")
    assert ids[0] == 1 and len(ids) == 6 and labels.tolist()[:3] == [-100] * 3
    assert labels.tolist()[3:] == ids.tolist()[3:], "the space between them is the choice's"


def test_rows_of_another_form(room: Any, dataset: Any, base: Input) -> None:
    with pytest.raises(ActionError) as found:
        results(room, {}, {"base": [base], "data": [dataset([{"prompt": "x"}], "prompt")]})
    assert found.value.slug == "wrong-format"


def test_a_prompt_that_is_too_long(room: Any, dataset: Any, base: Input) -> None:
    row = {"prompt": "x" * 90, "choices": ["a", "b"], "answer": 0}
    with pytest.raises(ActionError) as found:
        results(room, {}, {"base": [base], "data": [dataset([row], "choices")]})
    assert found.value.slug == "context-too-long"
