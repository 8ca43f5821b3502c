"""KTO: answers with verdicts, what the reference says of them, and a policy in, its trained weights out."""

from __future__ import annotations

import msgspec

from tunekit.engine.loading import Loaded, load_run
from tunekit.engine.reference import begin, reference_of
from tunekit.methods.kto.dataset import Judged, ReferencedRows, open_judged, warn_of_balance
from tunekit.methods.kto.spec import Kto
from tunekit.methods.kto.trainer import JudgedTrainer, make_trainer
from tunekit.methods.pairwise.run import train_rows
from tunekit.protocol import Events, Request


def run(request: Request, events: Events) -> dict[str, str]:
    """Inputs: `base`, maybe `adapter` (continued), `tokens`, `reference`. Outputs: main, last, and best where
    evaluated. Raises ActionError `reference-mismatch`, and what `train_rows` raises."""
    spec = msgspec.convert(request.spec, Kto)
    reference = reference_of(request, own=spec.reference is None)

    def make(loaded: Loaded, trained: Judged, evaluated: Judged | None) -> JudgedTrainer:
        warn_of_balance(spec, trained, events)
        rows = ReferencedRows(trained, reference.of("data", trained))
        held_out = ReferencedRows(evaluated, reference.of("eval_data", evaluated)) if evaluated else None
        trainer = make_trainer(spec, request, loaded, rows, held_out)
        if spec.reference is None:
            begin(loaded, trained, rows.logps, trained.tokens.pad_token_id, events)
        return trainer

    return train_rows(spec, request, events, make, load_run, open_judged)
