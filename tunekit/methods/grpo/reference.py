"""The reference policy of the KL term: what the policy was when the run began.

TRL makes it in three ways: for full weights it loads the base a second time; a PEFT model gets a frozen second
adapter called `ref`, a copy of the one that is trained. (A new adapter starts as a no-op, so its copy is the base.)
"""

from __future__ import annotations

from typing import Any

import torch
from peft import PeftModel

from tunekit.errors import ActionError

TRAINED, REFERENCE = "default", "ref"


def check_reference(model: Any, beta: float) -> None:
    """ActionError `reference-bias`: PEFT trains biases in place, so no second adapter could hold the old ones."""
    if beta == 0.0 or not isinstance(model, PeftModel):
        return
    if getattr(model.peft_config[TRAINED], "bias", "none") != "none":
        raise ActionError(
            "beta > 0 needs the policy as it was at the start, and an adapter that trains biases changes the base",
            slug="reference-bias",
            hint='set beta = 0, or bias = "none" in the adapter',
        )


def complete_reference(model: Any, beta: float) -> str:
    """Make the `ref` adapter a whole copy of the trained one, and say what the reference is.

    TRL copies parameters below a `default.` module; PEFT keeps those of embeddings in parameter dictionaries, whose
    names end with `default`, and these would be left at a random start. Frozen either way.
    """
    if beta == 0.0:
        return "none"
    if not isinstance(model, PeftModel):
        return "base weights, loaded again"
    parameters = dict(model.named_parameters())
    with torch.no_grad():
        for name, value in parameters.items():
            twin = _twin(name)
            if twin in parameters:
                parameters[twin].copy_(value)
                parameters[twin].requires_grad_(False)
    return "base and a frozen copy of the adapter"


def drop_reference(model: Any) -> None:
    """Only the trained adapter is left, as it was before TRL added one."""
    if isinstance(model, PeftModel) and REFERENCE in model.peft_config:
        model.delete_adapter(REFERENCE)


def _twin(name: str) -> str:
    parts = name.split(".")
    return ".".join(REFERENCE if part == TRAINED else part for part in parts) if TRAINED in parts else ""
