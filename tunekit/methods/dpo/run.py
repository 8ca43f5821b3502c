"""DPO: pairs, what the reference says of them, and a policy in, its trained weights out."""

from __future__ import annotations

import msgspec

from tunekit.engine.loading import Loaded
from tunekit.engine.reference import begin, reference_of
from tunekit.methods.dpo.dataset import ReferencedPairs
from tunekit.methods.dpo.flat import check_flat
from tunekit.methods.dpo.spec import Dpo, ReferencedRun
from tunekit.methods.dpo.trainer import ReferenceTrainer, make_trainer
from tunekit.methods.pairwise.dataset import Pairs
from tunekit.methods.pairwise.run import train_pairs
from tunekit.protocol import Events, Request


def run(request: Request, events: Events) -> dict[str, str]:
    """Inputs: `base`, maybe `adapter` (continued), `tokens`, `reference`. Outputs: main, last, and best where
    evaluated."""
    spec = msgspec.convert(request.spec, Dpo)
    return train_referenced(spec, spec.beta, request, events)


def train_referenced(spec: ReferencedRun, beta: float, request: Request, events: Events) -> dict[str, str]:
    """Raises ActionError `reference-mismatch`, and what `train_pairs` raises."""
    reference = reference_of(request, own=spec.reference is None)

    def make(loaded: Loaded, trained: Pairs, evaluated: Pairs | None) -> ReferenceTrainer:
        rows = ReferencedPairs(trained, reference.of("data", trained))
        held_out = ReferencedPairs(evaluated, reference.of("eval_data", evaluated)) if evaluated else None
        trainer = make_trainer(spec, request, loaded, rows, held_out, beta)
        if spec.reference is None:
            begin(loaded, trained, rows.logps, trained.tokens.pad_token_id, events)
        if spec.padding_free:
            check_flat(loaded, trained, events)
        return trainer

    return train_pairs(spec, request, events, make)
