"""Multiple choice by log-likelihood: of which answer the model is surest, given the question."""

from __future__ import annotations

import json
import math
from itertools import islice
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from tunekit.data.columns import Row
from tunekit.data.rowset import open_dataset
from tunekit.data.vocabulary import Vocabulary, open_vocabulary
from tunekit.engine.generation import check_context
from tunekit.engine.loading import Loaded
from tunekit.engine.loss import Listed, sequence_losses
from tunekit.engine.prompts import Prompt, prompt_of
from tunekit.errors import ActionError
from tunekit.forms import refusal
from tunekit.protocol import Events, Request
from tunekit.steps.eval.spec import Eval


class Ranked(NamedTuple):
    """One question. `logprobs`: ln p of every choice, given the prompt. `picked`: the likeliest one; `picked_norm`: the
    likeliest one a byte of UTF-8, so that long answers are not at a disadvantage. The first of equal ones."""

    row: int
    answer: int
    picked: int
    picked_norm: int
    logprobs: list[float]


def choose(request: Request, events: Events, spec: Eval, loaded: Loaded) -> dict[str, Any]:
    """Accuracies, and every question in `main/samples.jsonl`.

    Raises ActionError: `wrong-format`, `no-rows`, `empty-choice`, `not-finite`, and those of prompts.
    """
    vocabulary = open_vocabulary(request.one("base").path)
    questions = _questions(request, spec)
    sequences: list[tuple[np.ndarray, np.ndarray]] = []
    for i, row in enumerate(questions):
        prompt = prompt_of(row, vocabulary, f"row {i}")
        sequences += [sequence_of(prompt, choice, vocabulary, f"row {i}") for choice in row["choices"]]
    check_context(loaded.base, [ids.tolist() for ids, _ in sequences], 0)
    listed = Listed(sequences, vocabulary.pad_id or 0)
    scores: list[float] = []
    for done, found in enumerate(sequence_losses(loaded.model, listed, listed.spans, spec.micro_batch_size), 1):
        scores.append(-found.nll)
        events.progress(done, len(sequences), "choice")
    if not all(map(math.isfinite, scores)):
        raise ActionError("a log-likelihood is not finite", slug="not-finite", hint="the weights are broken")
    ranked, at = [], iter(scores)
    for i, row in enumerate(questions):
        ranked.append(_ranked(i, row, list(islice(at, len(row["choices"])))))
    _write(Path(request.out) / "main", ranked)
    return figures_of(ranked)


def sequence_of(prompt: Prompt, choice: str, vocabulary: Vocabulary, where: str) -> tuple[np.ndarray, np.ndarray]:
    """(input_ids, labels) of a prompt with a choice behind it, whose tokens are the labels. Where a template made the
    prompt, the choice follows at once, as a reply does; else after a space, unless there is white space already.

    Both are made tokens together, as a text would be; a token with a character of each counts as the choice's.
    """
    templated = vocabulary.template is not None
    gap = "" if templated or prompt.text[-1:].isspace() or choice[0].isspace() else " "
    whole = vocabulary.tokenizer.encode(prompt.text + gap + choice, add_special_tokens=False)
    first = next((i for i, (_, end) in enumerate(whole.offsets) if end > len(prompt.text)), len(whole.ids))
    if first == len(whole.ids):
        raise ActionError(f"{where}: the choice {choice!r} has no tokens", slug="empty-choice")
    bos = len(prompt.ids) > 0 and not templated and vocabulary.adds_bos and vocabulary.bos_id is not None
    ids = [prompt.ids[0], *whole.ids] if bos else whole.ids
    first += bos
    if first == 0:
        raise ActionError(f"{where}: nothing is before the choice {choice!r}", slug="empty-choice")
    array = np.array(ids, np.int64)
    return array, np.where(np.arange(len(array)) >= first, array, np.int64(-100))


def figures_of(ranked: list[Ranked]) -> dict[str, Any]:
    """`accuracy` of the likeliest, `accuracy_norm` of the likeliest a byte, and the standard error of both."""
    out: dict[str, Any] = {"n": len(ranked)}
    for name, right in (
        ("accuracy", [r.picked == r.answer for r in ranked]),
        ("accuracy_norm", [r.picked_norm == r.answer for r in ranked]),
    ):
        share = sum(right) / len(right)
        out[name] = share
        out[f"{name}_stderr"] = math.sqrt(share * (1 - share) / (len(right) - 1)) if len(right) > 1 else 0.0
    return out


def _ranked(i: int, row: Row, logprobs: list[float]) -> Ranked:
    sizes = [len(choice.encode()) for choice in row["choices"]]
    per_byte = [p / size for p, size in zip(logprobs, sizes, strict=True)]
    return Ranked(i, row["answer"], int(np.argmax(logprobs)), int(np.argmax(per_byte)), logprobs)


def _questions(request: Request, spec: Eval) -> list[Row]:
    """The first `limit` rows of all datasets together."""
    out: list[Row] = []
    for source in request.inputs["data"]:
        dataset = open_dataset(source.path)
        refused = refusal("choosing", source.label, dataset.shape)
        if refused:
            raise ActionError(refused.message, slug=refused.slug, hint=refused.hint)
        out += islice(dataset.iter_rows(), None if spec.limit is None else spec.limit - len(out))
    if not out:
        raise ActionError("there is no question", slug="no-rows", hint="look at `limit` and the datasets")
    return out


def _write(main: Path, ranked: list[Ranked]) -> None:
    main.mkdir(parents=True, exist_ok=True)
    with (main / "samples.jsonl").open("w", encoding="utf-8") as out:
        for one in ranked:
            logprobs = [float(f"{p:.8g}") for p in one.logprobs]
            out.write(json.dumps(one._asdict() | {"logprobs": logprobs}, sort_keys=True) + "\n")
