"""Knowledge distillation: token parts, a student and a teacher in, the student's trained weights out."""

from __future__ import annotations

from typing import Any

import msgspec

from tunekit.engine.effective import dtypes_of
from tunekit.engine.isolation import check_isolation
from tunekit.methods.distill.spec import Distill
from tunekit.methods.distill.teacher import load_teacher
from tunekit.methods.distill.trainer import DistillTrainer, GKDConfig, gkd_settings
from tunekit.methods.sft.batches import Feed
from tunekit.methods.sft.dataset import Documents
from tunekit.methods.sft.run import train_sft
from tunekit.methods.sft.stream import StreamFeed
from tunekit.protocol import Events, Request


def run(request: Request, events: Events) -> dict[str, str]:
    """Inputs: those of `sft`, `teacher`, maybe `teacher_adapter`. Outputs are those of `sft`.

    Raises ActionError `other-vocabulary`, `no-prompt`, and what `sft` and generation raise.
    """
    spec = msgspec.convert(request.spec, Distill)
    teacher = load_teacher(spec, request)
    parameters = sum(p.numel() for p in teacher.model.parameters())
    events.effective(teacher={"parameters": parameters, "attn": teacher.attn, "dtype": dtypes_of(teacher.model)})

    def trainer(feed: Feed | StreamFeed, evaluated: Documents | None, **kwargs: Any) -> DistillTrainer:
        if feed.collate.layout != "padded":
            check_isolation(teacher, feed.sample(), feed.collate, events)
        return DistillTrainer(feed, evaluated, spec=spec, teacher=teacher.model, **kwargs)

    return train_sft(spec, request, events, trainer, GKDConfig, **gkd_settings(spec))
