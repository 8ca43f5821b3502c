"""The teacher: whom the student learns from, and whether it speaks of the same tokens."""

from __future__ import annotations

from tunekit.engine.loading import Loaded, load_policy, load_tokenizer
from tunekit.errors import ActionError
from tunekit.methods.distill.spec import Distill
from tunekit.protocol import Request


def load_teacher(spec: Distill, request: Request) -> Loaded:
    """Frozen, in evaluation mode. Raises ActionError `other-vocabulary`, and what loading raises."""
    _check_vocabulary(spec, request)
    adapter = request.maybe("teacher_adapter")
    return load_policy(
        request.one("teacher").path,
        adapter.path if adapter else None,
        dtype=spec.dtype,
        attn=spec.attn,
        trainable=False,
    )


def _check_vocabulary(spec: Distill, request: Request) -> None:
    """Token ids are compared one by one: a size alone would let two vocabularies pass that only look alike."""
    own, other = (load_tokenizer(request.one(role).path).get_vocab() for role in ("base", "teacher"))
    if own == other:
        return
    differ = sorted(t for t in own.keys() | other.keys() if own.get(t) != other.get(t))
    some = ", ".join(repr(token) for token in differ[:3])
    raise ActionError(
        f"{len(differ)} tokens of {spec.teacher} are not the student's ({len(other)} and {len(own)} in all): {some}",
        slug="other-vocabulary",
        hint="take a teacher of the same family; across vocabularies: `sft` on rows that the teacher wrote",
    )
