"""A reward model: pairs and a language model in; out comes a model with a head that scores an answer."""

from __future__ import annotations

from functools import partial

import msgspec

from tunekit.engine.loading import load_run
from tunekit.methods.pairwise.run import train_pairs
from tunekit.methods.reward.spec import RewardModel
from tunekit.methods.reward.trainer import HEAD, make_trainer
from tunekit.protocol import Events, Request


def run(request: Request, events: Events) -> dict[str, str]:
    """Inputs: `base`, `tokens`. Outputs: main, last, and best where evaluated: what
    `AutoModelForSequenceClassification` loads, or an adapter on the base with the head beside it."""
    spec = msgspec.convert(request.spec, RewardModel)
    return train_pairs(spec, request, events, partial(make_trainer, spec, request), partial(load_run, head=HEAD))
