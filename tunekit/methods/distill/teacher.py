"""The teacher: whom the student learns from, and whether it speaks of the same tokens."""

from __future__ import annotations

from tunekit.engine.loading import Loaded, load_policy
from tunekit.engine.vocabularies import check_vocabulary
from tunekit.methods.distill.spec import Distill
from tunekit.protocol import Request


def load_teacher(spec: Distill, request: Request) -> Loaded:
    """Frozen, in evaluation mode. Raises ActionError `other-vocabulary`, and what loading raises."""
    own, other = request.one("base").path, request.one("teacher").path
    hint = "take a teacher of the same family; across vocabularies: `sft` on rows that the teacher wrote"
    check_vocabulary(own, other, ("the student", spec.teacher), hint)
    adapter = request.maybe("teacher_adapter")
    return load_policy(
        request.one("teacher").path,
        adapter.path if adapter else None,
        dtype=spec.dtype,
        attn=spec.attn,
        trainable=False,
    )
