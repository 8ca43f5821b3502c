"""IPO: as dpo, with its own loss."""

from __future__ import annotations

import msgspec

from tunekit.methods.dpo.run import train_referenced
from tunekit.methods.ipo.spec import Ipo
from tunekit.protocol import Events, Request


def run(request: Request, events: Events) -> dict[str, str]:
    """As dpo's."""
    spec = msgspec.convert(request.spec, Ipo)
    return train_referenced(spec, spec.beta, request, events)
