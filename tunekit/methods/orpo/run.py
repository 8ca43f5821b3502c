"""ORPO: pairs and a policy in, its trained weights out."""

from __future__ import annotations

from functools import partial

import msgspec

from tunekit.methods.orpo.spec import Orpo
from tunekit.methods.orpo.trainer import make_trainer
from tunekit.methods.pairwise.run import train_pairs
from tunekit.protocol import Events, Request


def run(request: Request, events: Events) -> dict[str, str]:
    """Inputs: `base`, maybe `adapter` (continued), `tokens`. Outputs: main, last, and best where evaluated."""
    spec = msgspec.convert(request.spec, Orpo)
    return train_pairs(spec, request, events, partial(make_trainer, spec, request))
