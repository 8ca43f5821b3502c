"""The receipt of a merge that PEFT made of a whole model: by a second one, in float32, in memory as a whole."""

from __future__ import annotations

from typing import Any

import torch
from torch import nn

from tunekit.engine.loading import DTYPES, load_policy
from tunekit.protocol import Events
from tunekit.steps.merge.receipt import SLACK, Logits, Weights, distance, judge, rounded_to
from tunekit.steps.merge.streamed import token_ids


def whole_receipt(base: str, adapter: str, merged: str, dtypes: list[str], events: Events) -> None:
    """Raises ActionError `merge-differs`. In memory are the base in float32 and, for a while, the result in the dtype
    in which it is stored."""
    exact = load_policy(base, adapter, dtype="float32", trainable=False).model
    wanted = _logits(exact)
    _untie(exact)
    exact = exact.merge_and_unload()  # type: ignore[operator]
    in_float32 = _logits(exact)
    names = rounded_to(dtypes)
    stored = load_policy(merged, dtype=names[0] if len(names) == 1 else "float32", trainable=False).model
    weights = _round_as(exact, stored, [DTYPES[name] for name in names], SLACK["peft"])
    rounded = _logits(exact)
    del exact
    judge(Logits(wanted, in_float32, rounded, _logits(stored.float())), weights, events)


@torch.no_grad()
def _logits(model: Any) -> torch.Tensor:
    """[3, 16, vocabulary] logits on fixed random tokens; the model is left on the CPU."""
    device = "cuda" if torch.cuda.is_available() else "cpu"
    ids = token_ids(model.config.get_text_config().vocab_size)
    logits_BTV: torch.Tensor = model.to(device)(input_ids=ids.to(device), use_cache=False).logits.float().cpu()
    model.to("cpu")
    return logits_BTV


def _untie(model: Any) -> None:
    """An update of one of two tied tensors must not reach the other: PEFT adds it in place."""
    base = model.get_base_model()
    base.config.tie_word_embeddings = base.config.get_text_config().tie_word_embeddings = False
    seen: set[int] = set()
    for module in model.modules():
        for name, parameter in module.named_parameters(recurse=False, remove_duplicate=False):
            if id(parameter) in seen:
                module.register_parameter(name, nn.Parameter(parameter.detach().clone(), requires_grad=False))
            seen.add(id(parameter))


@torch.no_grad()
def _round_as(exact: nn.Module, stored: nn.Module, dtypes: list[torch.dtype], slack: float) -> Weights:
    """How far the stored tensors are from the exact ones, which are rounded in place."""
    found: dict[str, torch.Tensor] = dict(stored.state_dict())
    worst = Weights("", 0.0, False)
    for name, value in exact.state_dict().items():
        held = found.pop(name, None)
        if held is None or held.shape != value.shape:
            return Weights(name, float("inf"), False)
        off, _ = distance(value, held, dtypes, slack)
        if held.is_floating_point():
            value.copy_(value.to(held.dtype if held.dtype in dtypes else dtypes[0]))
        if not off <= worst.off:
            worst = Weights(name, off, False)
    return Weights(min(found), float("inf"), False) if found else worst
