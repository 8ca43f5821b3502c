"""Generation eval: complete prompts with a generation engine, score the completions with the project's function."""

from __future__ import annotations

import hashlib
import json
import statistics
from pathlib import Path
from typing import Any, NamedTuple

from tunekit.data.vocabulary import open_vocabulary
from tunekit.engine.generation import Completion, Embedded, Sampling, check_context, stop_ids_of
from tunekit.engine.loading import Loaded
from tunekit.engine.prompts import Prompt, Share, read_prompts
from tunekit.engine.rewards import Columns, Rewards
from tunekit.errors import ActionError
from tunekit.protocol import Events, Request
from tunekit.steps.eval.spec import Eval


class Sample(NamedTuple):
    """One scored completion. `row` counts the prompts of all datasets from 0; `score` None: left out."""

    row: int
    prompt: Any
    completion: str
    tokens: int
    finished: bool
    score: float | None


def score(request: Request, events: Events, spec: Eval, loaded: Loaded) -> dict[str, Any]:
    """Figures of `spec.scorer` over the completions, and every completion in `main/samples.jsonl`.

    Raises ActionError: `nothing-scored`, and those of prompts, generation and rewards.
    """
    prompts = _prompts(request, spec)
    sampling = Sampling(
        max_tokens=spec.max_completion_length,
        stop_ids=stop_ids_of(loaded.base, loaded.tokenizer),
        n=spec.num_generations,
        temperature=spec.temperature,
    )
    check_context(loaded.base, [p.ids for p in prompts], spec.max_completion_length)
    columns = Columns([p.row for p in prompts])
    samples: list[Sample] = []
    engine = Embedded(loaded.model, loaded.tokenizer, batch_size=spec.micro_batch_size)
    with Rewards(request.code_root, [spec.scorer], spec.scorer_timeout) as rewards, engine:
        for start in range(0, len(prompts), spec.micro_batch_size):
            some = prompts[start : start + spec.micro_batch_size]
            groups = engine.generate([p.ids for p in some], sampling._replace(seed=_seed(spec.seed, start)))
            done = [completion for group in groups for completion in group]
            rows = [start + i for i, group in enumerate(groups) for _ in group]
            texts = _texts(loaded, done)
            shown, values = columns.take(rows)
            scores = rewards.call(spec.scorer, texts, shown, values, f"from prompt {start}")
            samples += map(_sample, rows, shown, texts, done, scores)
            events.progress(start + len(some), len(prompts), "prompt")
    _write(Path(request.out) / "main", samples)
    return figures_of(samples, spec.num_generations)


def figures_of(samples: list[Sample], n: int) -> dict[str, Any]:
    """Means over all completions that were scored; `score_best` is the mean over prompts of the best of n.

    ActionError `nothing-scored` if the scorer left every completion out.
    """
    scores = [s.score for s in samples if s.score is not None]
    if not scores:
        raise ActionError("the scorer returned None for every completion", slug="nothing-scored")
    out: dict[str, Any] = {
        "score": statistics.fmean(scores),
        "score_std": statistics.stdev(scores) if len(scores) > 1 else 0.0,
        "n": len(scores),
        "prompts": len(samples) // n,
        "left_out": len(samples) - len(scores),
        "completion_tokens": statistics.fmean(s.tokens for s in samples),
        "truncated": sum(not s.finished for s in samples) / len(samples),
    }
    if n > 1:
        groups = [[s.score for s in samples[i : i + n] if s.score is not None] for i in range(0, len(samples), n)]
        out["score_best"] = statistics.fmean(max(g) for g in groups if g)
    return out


def _prompts(request: Request, spec: Eval) -> list[Prompt]:
    """The first `limit` rows of all datasets together."""
    vocabulary = open_vocabulary(request.one("base").path)
    out: list[Prompt] = []
    for source in request.inputs["data"]:
        left = None if spec.limit is None else spec.limit - len(out)
        if left != 0:
            out += read_prompts([source], [Share(left)], vocabulary)
    return out


def _sample(row: int, prompt: Any, text: str, done: Completion, value: float | None) -> Sample:
    return Sample(row, prompt, text, len(done.token_ids), done.finished, value)


def _texts(loaded: Loaded, completions: list[Completion]) -> list[str]:
    texts: list[str] = loaded.tokenizer.batch_decode([c.token_ids for c in completions], skip_special_tokens=True)
    return texts


def _write(main: Path, samples: list[Sample]) -> None:
    main.mkdir(parents=True, exist_ok=True)
    with (main / "samples.jsonl").open("w", encoding="utf-8") as out:
        for sample in samples:
            out.write(json.dumps(sample._asdict(), ensure_ascii=False, sort_keys=True) + "\n")


def _seed(seed: int, start: int) -> int:
    digest = hashlib.sha256(f"tunekit/eval/{seed}/{start}".encode()).digest()
    return int.from_bytes(digest[:7], "big")
