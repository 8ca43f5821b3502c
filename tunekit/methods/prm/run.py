"""A process reward model: steps with verdicts and a language model in; out comes a model that judges every step."""

from __future__ import annotations

from functools import partial

import msgspec

from tunekit.engine.loading import load_run
from tunekit.methods.pairwise.run import train_rows
from tunekit.methods.prm.dataset import open_steps
from tunekit.methods.prm.spec import Prm
from tunekit.methods.prm.trainer import HEAD, make_trainer
from tunekit.protocol import Events, Request


def run(request: Request, events: Events) -> dict[str, str]:
    """Inputs: `base`, `tokens`. Outputs: main, last, and best where evaluated: what `AutoModelForTokenClassification`
    loads (two numbers a token, wrong and right), or an adapter on the base with the head beside it."""
    spec = msgspec.convert(request.spec, Prm)
    make, load = partial(make_trainer, spec, request), partial(load_run, head=HEAD)
    return train_rows(spec, request, events, make, load, open_steps)
