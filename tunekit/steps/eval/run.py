"""An eval: figures of a policy on datasets, as `results.json`."""

from __future__ import annotations

import json
import math
from pathlib import Path
from typing import Any

import msgspec
import numpy as np
import torch

from tunekit.engine.determinism import make_deterministic
from tunekit.engine.effective import device_names, library_versions
from tunekit.engine.loading import Loaded, load_policy
from tunekit.engine.loss import token_loss
from tunekit.engine.rows import Tokens, View, view_of, warn_of_length
from tunekit.engine.saving import write_json
from tunekit.errors import ActionError
from tunekit.protocol import Events, Request
from tunekit.steps.eval.spec import Eval

_DIGITS = 10


def run(request: Request, events: Events) -> dict[str, str]:
    """Inputs: `base`, maybe `adapter`, and `tokens` (loss) or `data` (scorer, choices). Output: main with results.json.

    Raises ActionError: `no-labels`, `not-finite`, and those of loading and of the scorer.
    """
    spec = msgspec.convert(request.spec, Eval)
    determinism = make_deterministic(spec.seed)
    loaded = _load(request)
    events.effective(
        attn=loaded.attn,
        determinism=determinism,
        devices=device_names(),
        dtype=loaded.dtype,
        libraries=library_versions(),
        micro_batch_size=spec.micro_batch_size,
        threads=torch.get_num_threads(),
    )
    if spec.scorer:
        from tunekit.steps.eval.generate import score

        figures = score(request, events, spec, loaded)
    elif spec.measure == "choices":
        from tunekit.steps.eval.choices import choose

        figures = choose(request, events, spec, loaded)
    else:
        figures = _loss(request, events, spec, loaded)
    rounded = _rounded(figures)
    out = Path(request.out) / "main"
    out.mkdir(exist_ok=True)
    write_json(out / "results.json", rounded)
    events.effective(summary={k: v for k, v in rounded.items() if isinstance(v, (int, float))})
    return {"main": "main"}


def _load(request: Request) -> Loaded:
    base, adapter = request.one("base").path, request.maybe("adapter")
    config = json.loads((Path(base) / "config.json").read_text(encoding="utf-8"))
    # As stored, but for float16, which the CPU computes poorly in: float32 holds all of it.
    dtype = "bfloat16" if config.get("dtype", config.get("torch_dtype")) == "bfloat16" else "float32"
    loaded = load_policy(base, adapter.path if adapter else None, dtype=dtype, trainable=False)
    if torch.cuda.is_available():
        loaded.model.to("cuda")  # type: ignore[arg-type]
    return loaded


def _loss(request: Request, events: Events, spec: Eval, loaded: Loaded) -> dict[str, Any]:
    tokens = Tokens(request.one("tokens").path)
    views = _views(tokens, spec)
    spans = np.concatenate([view.spans for _, view in views])
    rows = sum(view.ledger["rows"] - view.ledger["not_selected"] for _, view in views)
    ledger = [{"dataset": label, **view.ledger} for label, view in views]
    events.effective(ledger={"data": ledger}, rows=rows, sequences=len(spans))
    for label, view in views:
        warn_of_length(label, view, spec.sequence_len, "split", events)
    found = token_loss(
        loaded.model,
        tokens,
        spans,
        spec.micro_batch_size,
        lambda done: events.progress(done, len(spans), "sequence"),
    )
    if not math.isfinite(found.nll):
        raise ActionError(f"the loss is {found.mean}", slug="not-finite", hint="the weights are broken, or overflow")
    figures: dict[str, Any] = {
        "labelled_tokens": found.tokens,
        "loss": found.mean,
        "rows": rows,
        "sequences": len(spans),
    }
    if found.mean < 700:  # beyond, the exponential is no float
        figures["perplexity"] = math.exp(found.mean)
    count = _labelled_bytes(tokens, spans, Path(request.one("base").path))
    return figures | ({"bits_per_byte": found.nll / math.log(2) / count} if count else {})


def _views(tokens: Tokens, spec: Eval) -> list[tuple[str, View]]:
    """Sequences of the first `limit` rows of all datasets together, by dataset."""
    left = spec.limit or sum(len(tokens.chunks[n].rows) for item in tokens.items for n in item)
    views: list[tuple[str, View]] = []
    for item, label in enumerate(spec.data):
        view = view_of(tokens, item, spec.sequence_len, "split", limit=left)
        left -= view.ledger["rows"] - view.ledger["not_selected"]
        views.append((label, view))
    if not any(len(view.spans) for _, view in views):
        raise ActionError("no token has a label, so there is no loss", slug="no-labels")
    return views


def _labelled_bytes(tokens: Tokens, spans: np.ndarray, base: Path) -> int:
    """Bytes of text behind the labelled tokens (special tokens have none); 0 where tokens are not bytes.

    Exact for byte-level vocabularies, in which a character of a token stands for one byte.
    """
    body = json.loads((base / "tokenizer.json").read_text(encoding="utf-8"))
    if (body.get("decoder") or {}).get("type") != "ByteLevel" or body["model"]["type"] != "BPE":
        return 0
    special = {t["id"] for t in body["added_tokens"]}
    vocabulary = body["model"]["vocab"]
    sizes = np.zeros(max([*vocabulary.values(), *special]) + 1, np.int64)
    for token, number in vocabulary.items():
        sizes[number] = 0 if number in special else len(token)
    total = 0
    for span in spans.tolist():
        labels = np.array(tokens.sequence(*span)[1][1:])
        total += int(sizes[labels[labels != -100]].sum())
    return total


def _rounded(value: Any) -> Any:
    """Floats to 10 significant digits: what differs beyond them is the order of additions."""
    if isinstance(value, dict):
        return {k: _rounded(v) for k, v in value.items()}
    if isinstance(value, (list, tuple)):
        return [_rounded(v) for v in value]
    return float(f"{value:.{_DIGITS}g}") if isinstance(value, float) else value
