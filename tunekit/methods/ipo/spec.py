"""Identity preference optimisation: a target for the margin instead of as much of it as there is."""

from __future__ import annotations

from typing import Annotated, Literal

from tunekit.methods.dpo.spec import ReferencedRun, derive
from tunekit.methods.spec import policy
from tunekit.spec import semantic

__all__ = ["Ipo", "derive", "policy"]


class Ipo(ReferencedRun, frozen=True, kw_only=True):
    """IPO (Azar et al. 2023, arXiv:2310.12036) by TRL's DPOTrainer: the square of how far the margin, in mean
    log-probabilities of tokens against the reference, is from 1 / (2 beta). For few or noisy pairs, on which dpo goes
    on to push answers apart that it has told apart long since. Not for labels that are known to be wrong at some rate:
    dpo's label_smoothing."""

    method: Annotated[Literal["ipo"], semantic("This method.")] = "ipo"
    beta: Annotated[float, semantic("The margin that is aimed at is 1 / (2 beta); tau in the paper.", gt=0)] = 0.1
