"""GRPO: prompts, rewards and a policy in, its trained weights out. TRL trains, the engine generates."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import msgspec

from tunekit.data.vocabulary import open_vocabulary
from tunekit.engine.determinism import make_deterministic
from tunekit.engine.effective import effective_settings
from tunekit.engine.generation import Embedded, check_context
from tunekit.engine.loading import keep_precision, load_run
from tunekit.engine.prompts import Prompt, Share, read_prompts
from tunekit.engine.rewards import Rewards
from tunekit.engine.saving import save_run
from tunekit.engine.training import train
from tunekit.methods.grpo.order import order_of
from tunekit.methods.grpo.reference import check_reference, complete_reference, drop_reference
from tunekit.methods.grpo.spec import Grpo
from tunekit.methods.grpo.trainer import CardlessTrainer, grpo_settings, make_trainer
from tunekit.methods.spec import items_of
from tunekit.protocol import Events, Request

SHOWN = ("reward", "reward_std", "frac_reward_zero_std", "kl", "entropy", "completions/mean_length")
WINDOW = 10  # most points of the history that the summary averages at either end


def run(request: Request, events: Events) -> dict[str, str]:
    """Inputs: `base`, maybe `adapter` (continued), `data` (rows of shape `prompt`). Outputs: main and last."""
    return train_grpo(msgspec.convert(request.spec, Grpo), request, events)


def train_grpo(
    spec: Grpo, request: Request, events: Events, trainer_class: Callable[..., CardlessTrainer] = CardlessTrainer
) -> dict[str, str]:
    """A run by a spec (of a subclass, maybe) and a trainer (with another loss, maybe): what a method of a project or
    of another package is made of.

    Raises ActionError with the slugs of prompts, rewards, loading, generation, arguments, training and saving.
    """
    determinism = make_deterministic(spec.seed)
    prompts = _prompts(spec, request)
    order = order_of(spec, len(prompts))
    events.effective(prompts={"rows": len(prompts), "longest": max(len(p.ids) for p in prompts)})
    loaded = load_run(spec, request)
    check_reference(loaded.model, spec.beta)
    # All of them now: the long one may come up after hours of training.
    check_context(loaded.base, [p.ids for p in prompts], spec.max_completion_length)
    # The weights are the trainer's own, so their identity needs no proof here; a server's will.
    engine = Embedded(loaded.model, loaded.tokenizer, weights=request.key)
    with Rewards(request.code_root, [r.fn for r in spec.rewards], spec.reward_timeout) as rewards, engine:
        trainer = make_trainer(spec, loaded, request, prompts, order, rewards, engine, trainer_class)
        keep_precision(loaded)  # before it is copied
        reference = complete_reference(loaded.model, spec.beta)
        settings = effective_settings(spec, loaded, determinism)
        events.effective(**settings, **grpo_settings(spec, trainer, reference))
        history = train(trainer, spec, loaded, request, events)
    events.effective(summary=summary_of(history))
    drop_reference(loaded.model)
    save_run(loaded, request, Path(request.out) / "last")
    return {"main": "last", "last": "last"}


def summary_of(history: list[dict[str, float]]) -> dict[str, Any]:
    """How the reward went: means of the first and of the last points of the history, a tenth of it at each end."""
    points = [p for p in history if "reward" in p]
    if not points:
        return {"points": 0}
    window = max(1, min(WINDOW, len(points) // 10))
    ends = {"first": points[:window], "last": points[-window:]}
    out: dict[str, Any] = {
        "reward": mean_of(points[-window:], "reward"),
        "reward_at_start": mean_of(points[:window], "reward"),
    }
    out |= {"steps": int(points[-1]["step"]), "points": len(points), "window": window}
    for end, some in ends.items():
        out[end] = {name: mean_of(some, name) for name in some[0] if name in SHOWN or name.endswith("/mean")}
    return out


def mean_of(points: list[dict[str, float]], name: str) -> float:
    """Over the points that have it (a reward may have left out every completion of a step)."""
    values = [p[name] for p in points if name in p]
    return sum(values) / len(values)


def _prompts(spec: Grpo, request: Request) -> list[Prompt]:
    vocabulary = open_vocabulary(request.one("base").path)
    shares = [Share(item.limit, item.weight) for item in items_of(spec)]
    return read_prompts(request.inputs["data"], shares, vocabulary, spec.max_prompt_length)
