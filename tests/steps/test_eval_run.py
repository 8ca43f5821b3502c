"""The evaluation loss against Transformers' own."""

import json
import math
import sys
from pathlib import Path
from typing import Any

import pytest

sys.path.insert(0, str(Path(__file__).parents[1] / "engine"))
import tiny_stack as tiny
import torch

from tunekit.engine.loading import load_policy
from tunekit.errors import ActionError
from tunekit.report.ledger import ledgers
from tunekit.steps.eval.run import run
from tunekit.steps.model.run import run as make_model

pytestmark = pytest.mark.torch
ROWS = [tiny.random_rows(9, 4), tiny.random_rows(5, 5, 30, 40)]
SPEC = {"model": "model:m", "data": ["dataset:a", "dataset:b"]}


@pytest.fixture(scope="module")
def inputs(tmp_path_factory: pytest.TempPathFactory) -> dict[str, str]:
    root = tmp_path_factory.mktemp("eval")
    tokenizer = str(tiny.write_tokenizer(root / "tokenizer"))
    req = tiny.request(root / "m", "model", {"config": tiny.LLAMA, "tokenizer": "tokenizer:t"}, tokenizer=tokenizer)
    make_model(req, tiny.Recorder())
    tokens = tiny.make_tokens(root / "tokens", [ROWS[0]], [ROWS[1]])
    return {"base": str(root / "m" / "out" / "main"), "tokens": tokens}


def evaluate(root: Path, inputs: dict[str, str], events: tiny.Recorder | None = None, **more: Any) -> dict[str, Any]:
    events = events or tiny.Recorder()
    req = tiny.request(root, "eval", SPEC | more, **inputs)
    assert run(req, events) == {"main": "main"}
    results: dict[str, Any] = json.loads((Path(req.out) / "main" / "results.json").read_text())
    assert events.settings["summary"] == results and list(results) == sorted(results)
    return results


def by_hand(inputs: dict[str, str], rows: list[tuple[list[int], list[bool]]]) -> tuple[float, int]:
    model: Any = load_policy(inputs["base"], trainable=False).model
    nll, count = 0.0, 0
    for ids, flags in rows:
        labels = torch.tensor([[i if f else -100 for i, f in zip(ids, flags, strict=True)]])
        n = int((labels[:, 1:] != -100).sum())
        with torch.no_grad():
            nll += model(input_ids=torch.tensor([ids]), labels=labels).loss.item() * n
        count += n
    return nll, count


def test_loss_is_that_of_transformers(tmp_path: Path, inputs: dict[str, str]) -> None:
    results = evaluate(tmp_path, inputs)
    nll, count = by_hand(inputs, ROWS[0] + ROWS[1])
    assert (results["rows"], results["sequences"], results["labelled_tokens"]) == (14, 14, count)
    assert results["loss"] == pytest.approx(nll / count, rel=1e-6)
    assert results["perplexity"] == pytest.approx(math.exp(nll / count), rel=1e-5)
    # Every token of this vocabulary but the three special ones is one byte.
    assert results["bits_per_byte"] == pytest.approx(nll / count / math.log(2), rel=1e-6)


def test_batch_size_does_not_matter(tmp_path: Path, inputs: dict[str, str]) -> None:
    one, many = (evaluate(tmp_path / str(n), inputs, micro_batch_size=n) for n in (1, 5))
    assert one["loss"] == pytest.approx(many["loss"], rel=1e-6)


def test_same_bytes_twice(tmp_path: Path, inputs: dict[str, str]) -> None:
    evaluate(tmp_path / "a", inputs)
    evaluate(tmp_path / "b", inputs)
    assert tiny.tree(tmp_path / "a" / "out") == tiny.tree(tmp_path / "b" / "out")


def test_limit_counts_rows_of_all_datasets(tmp_path: Path, inputs: dict[str, str]) -> None:
    results = evaluate(tmp_path, inputs, limit=11)
    nll, count = by_hand(inputs, ROWS[0] + ROWS[1][:2])
    assert results["rows"] == 11 and results["loss"] == pytest.approx(nll / count, rel=1e-6)


def test_long_rows_are_split(tmp_path: Path, inputs: dict[str, str]) -> None:
    events = tiny.Recorder()
    results = evaluate(tmp_path, inputs, events, sequence_len=16)
    assert results["rows"] == 14 < results["sequences"]
    assert results["labelled_tokens"] == by_hand(inputs, ROWS[0] + ROWS[1])[1]
    long = [[i for i, (ids, _) in enumerate(rows) if len(ids) > 16] for rows in ROWS]
    shown = dict(ledgers(events.settings))  # what `tunekit show` draws
    assert long[0] and long[1] == [0, 1, 2, 3, 4]
    for name, numbers in zip(SPEC["data"], long, strict=True):
        assert shown[name]["split"] == len(numbers) and shown[name]["long_rows"] == numbers
    assert sum(line["sequences"] for line in shown.values()) == results["sequences"]
    assert [w["slug"] for w in events.of("warning")] == ["overlong"] * 2


def test_rows_behind_the_limit_are_counted(tmp_path: Path, inputs: dict[str, str]) -> None:
    events = tiny.Recorder()
    evaluate(tmp_path, inputs, events, limit=4)
    shown = dict(ledgers(events.settings))
    assert {name: (line["rows"], line["not_selected"]) for name, line in shown.items()} == {
        "dataset:a": (9, 5),
        "dataset:b": (5, 5),
    }
    assert events.of("warning") == []


def test_nothing_to_score(tmp_path: Path, inputs: dict[str, str]) -> None:
    tokens = tiny.make_tokens(tmp_path / "t", [[([3, 4], [False, False])]])
    with pytest.raises(ActionError) as found:
        evaluate(tmp_path, inputs | {"tokens": tokens}, data=["dataset:a"])
    assert found.value.slug == "no-labels"
