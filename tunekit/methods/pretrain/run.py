"""Continued pretraining: `sft` under another spec."""

from __future__ import annotations

import msgspec

from tunekit.methods.pretrain.spec import Pretrain
from tunekit.methods.sft.run import train_sft
from tunekit.protocol import Events, Request


def run(request: Request, events: Events) -> dict[str, str]:
    """Inputs and outputs are those of `sft`."""
    return train_sft(msgspec.convert(request.spec, Pretrain), request, events)
