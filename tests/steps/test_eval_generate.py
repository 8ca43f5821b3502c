"""Generation evals: completions scored in a child process, figures, and samples that are the same bytes again."""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import Any

os.environ.setdefault("HF_HUB_OFFLINE", "1")

import msgspec
import pytest

from tunekit.errors import ActionError
from tunekit.protocol import Events, Input, Request
from tunekit.steps.eval.spec import Eval

pytestmark = pytest.mark.torch
SCORERS = """
def length(completions, **_):
    return [float(len(c[0]["content"])) for c in completions]

def only_even(completions, number):
    return [float(n) if n % 2 == 0 else None for n in number]

def nothing(completions, **_):
    return [None] * len(completions)

def extra(completions, level):
    return [0.0 if n is None else float(n) for n in level]
"""


@pytest.fixture(scope="module")
def base(byte_model: str) -> Input:
    return Input(byte_model, "sha256:" + "1" * 64, "model", "model:tiny")


def scored(request: Request, events: Events) -> dict[str, str]:
    """The part of the eval room that is tested here, with the figures beside the samples."""
    from tunekit.engine.loading import load_policy
    from tunekit.steps.eval.generate import score

    loaded = load_policy(request.one("base").path, trainable=False)
    figures = score(request, events, msgspec.convert(request.spec, Eval), loaded)
    (Path(request.out) / "main" / "results.json").write_text(json.dumps(figures))
    return {"main": "main"}


class Evaluate:
    def __init__(self, room: Any, dataset: Any, base: Input, code: Path) -> None:
        self.room, self.base = room, base
        code.mkdir(exist_ok=True)
        (code / "score.py").write_text(SCORERS)
        self.data = [
            dataset([{"prompt": f"say {i}", "number": i} for i in range(7)], "prompt", 4),  # of two chunks
            dataset([{"prompt": "again", "number": 8, "level": 3}], "prompt"),
        ]

    def __call__(self, scorer: str = "length", **spec: Any) -> tuple[dict[str, Any], list[dict[str, Any]], bytes]:
        full = {"model": "model:tiny", "data": ["dataset:d", "dataset:e"], "scorer": f"score.py:{scorer}"}
        full |= {"max_completion_length": 6, "micro_batch_size": 3} | spec
        main = self.room(scored, full, {"base": [self.base], "data": self.data}).main
        raw = (main / "samples.jsonl").read_bytes()
        return json.loads((main / "results.json").read_text()), [json.loads(x) for x in raw.splitlines()], raw


@pytest.fixture
def evaluate(room: Any, dataset: Any, base: Input, tmp_path: Path) -> Evaluate:
    return Evaluate(room, dataset, base, tmp_path / "code")


def test_figures_and_samples(evaluate: Evaluate) -> None:
    figures, samples, raw = evaluate()
    assert [s["prompt"] for s in samples] == [f"say {i}" for i in range(7)] + ["again"]
    assert [s["row"] for s in samples] == list(range(8))
    assert figures["score"] == pytest.approx(sum(len(s["completion"]) for s in samples) / 8)
    assert (figures["n"], figures["prompts"], figures["left_out"]) == (8, 8, 0)
    assert figures["completion_tokens"] == pytest.approx(sum(s["tokens"] for s in samples) / 8)
    assert evaluate()[2] == raw
    assert [s["completion"] for s in evaluate(micro_batch_size=8)[1]] == [s["completion"] for s in samples]


def test_sampled_with_n_and_a_seed(evaluate: Evaluate) -> None:
    figures, samples, raw = evaluate(temperature=1.0, num_generations=2)
    assert (figures["n"], figures["prompts"], len(samples)) == (16, 8, 16)
    assert figures["score_best"] >= figures["score"]
    assert evaluate(temperature=1.0, num_generations=2)[2] == raw
    assert evaluate(temperature=1.0, num_generations=2, seed=1)[2] != raw


def test_limit_counts_the_rows_of_all_datasets_and_none_is_left_out(evaluate: Evaluate) -> None:
    figures, samples, _ = evaluate("only_even", limit=5)
    assert len(samples) == 5
    assert (figures["score"], figures["n"], figures["left_out"]) == (2.0, 3, 2)
    assert [s["score"] for s in samples] == [0.0, None, 2.0, None, 4.0]


def test_a_column_that_only_one_dataset_has(evaluate: Evaluate) -> None:
    assert [s["score"] for s in evaluate("extra")[1]] == [0.0] * 7 + [3.0]


@pytest.mark.parametrize(("scorer", "slug"), [("nothing", "nothing-scored"), ("absent", "reward-missing")])
def test_errors(evaluate: Evaluate, scorer: str, slug: str) -> None:
    with pytest.raises(ActionError) as found:
        evaluate(scorer)
    assert found.value.slug == slug
