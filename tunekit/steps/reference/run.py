"""The log-probabilities that the reference policy gives to a run's answers."""

from __future__ import annotations

from functools import partial
from pathlib import Path
from typing import Any

import msgspec
import torch

from tunekit.engine.determinism import make_deterministic
from tunekit.engine.loading import load_policy
from tunekit.engine.pairs import Answers, answers_of, pairs_of
from tunekit.engine.reference import (
    Reference,
    Scorable,
    content_of,
    policy_of,
    score,
    with_log_probabilities,
    write_reference,
)
from tunekit.engine.rows import Tokens
from tunekit.methods.kto.dataset import Judged
from tunekit.methods.pairwise.dataset import SIDES, Pairs
from tunekit.protocol import Events, Request
from tunekit.steps.reference.spec import Reference as Spec


def run(request: Request, events: Events) -> dict[str, str]:
    """Inputs: `base`, maybe `adapter`, `tokens`. Raises what loading and views raise, and `not-finite`."""
    spec = msgspec.convert(request.spec, Spec)
    determinism = make_deterministic(0)
    tokens = Tokens(request.one("tokens").path)
    rows = _rows(spec, tokens)
    adapter = request.maybe("adapter")
    loaded = load_policy(
        request.one("base").path,
        adapter and adapter.path,
        spec.adapter,
        dtype=spec.dtype,
        attn=spec.attn,
        trainable=False,
    )
    model: Any = loaded.model
    model.to("cuda" if torch.cuda.is_available() else "cpu")
    with_log_probabilities(loaded)
    total, behind = sum(map(len, rows.values())), 0
    logps = {}
    for name, some in rows.items():
        done = partial(_tell, events, behind, total)
        logps[name] = score(loaded, some, tokens.pad_token_id, spec.micro_batch_size, done)
        behind += len(some)
    events.effective(attn=loaded.attn, determinism=determinism, rows={name: len(some) for name, some in rows.items()})
    contents = {name: content_of(some) for name, some in rows.items()}
    write_reference(Path(request.out) / "main", Reference(logps, contents, policy_of(request)))
    return {"main": "main"}


def _tell(events: Events, behind: int, total: int, done: int) -> None:
    events.progress(behind + done, total, "row")


def _rows(spec: Spec, tokens: Tokens) -> dict[str, Scorable]:
    """What the run's datasets will be."""
    shares = [*spec.data, *spec.eval_data]
    names = spec.names or [f"dataset {number}" for number in range(len(shares))]
    views: list[Answers] = []
    for number, (share, name) in enumerate(zip(shares, names, strict=True)):
        of, step = (pairs_of, len(SIDES)) if spec.pairing is None else (answers_of, 1)
        at = number * step
        views.append(
            of(tokens, at, spec.sequence_len, spec.overlong, limit=share.limit, weight=share.weight, name=name)
        )
    parts = {"data": views[: len(spec.data)], "eval_data": views[len(spec.data) :]}
    found: dict[str, Scorable] = {}
    for name, some in parts.items():
        if some and spec.pairing is None:
            found[name] = Pairs(tokens, some)
        elif some and spec.pairing is not None:
            found[name] = Judged(tokens, some, spec.pairing.seed, spec.pairing.block, spec.sequence_len)
    return found
