"""The receipt of a merge: that what is stored is base + adapter, but for what rounding to the stored dtype does.

An absolute bound on logits says nothing of bfloat16: rounding 30 layers moves single logits by a third, which hides a
module that was left out. So the merge is made a second time, by PEFT, in float32, and held against three bounds:

1. its logits are those of base + adapter, to float32's accuracy: it is the exact merge;
2. every stored tensor is the exact one rounded: off by less than a quarter of what rounding alone does to the tensor;
3. the logits of what is stored are off by at most twice what those of the exact merge, rounded, are off by.

The second finds what drowns in the logits' noise; tensors that the adapter leaves alone must not change at all.
"""

from __future__ import annotations

from typing import Any, NamedTuple

import torch
from torch import nn

from tunekit.engine.loading import DTYPES, load_policy
from tunekit.errors import ActionError
from tunekit.protocol import Events

_SEQUENCES, _LENGTH = 3, 16
# Of the largest logit; some 800 roundings of float32. SmolLM2-135M: 30 layers, and 1e-5.
_EXACT = 1e-4
# Of the norm of a tensor: another order of summing up in float32.
_SUMS = 1e-6
# Of the rounding of a tensor. The streaming merge rounds once, so only values between two neighbours may go the other
# way. PEFT's merge computes in the stored dtype, and rounds at every operation.
SLACK = {"stream": 0.25, "peft": 4.0}
_ROUNDINGS = 2.0


class Weights(NamedTuple):
    """The stored tensor that is furthest from the exact one: as a part of what it may be off by."""

    tensor: str
    off: float


def receipt(base: str, adapter: str, merged: str, dtypes: list[str], by: str, events: Events) -> None:
    """Raises ActionError: `merge-differs`. Everything is computed in float32; in memory are the base in float32 and,
    for a while, the result in the dtype in which it is stored."""
    exact = load_policy(base, adapter, dtype="float32", trainable=False).model
    wanted = _logits(exact)
    _untie(exact)
    exact = exact.merge_and_unload()  # type: ignore[operator]
    in_float32 = _difference(wanted, _logits(exact))
    names = _rounded_to(dtypes)
    stored = load_policy(merged, dtype=names[0] if len(names) == 1 else "float32", trainable=False).model
    weights = _round_as(exact, stored, [DTYPES[name] for name in names], SLACK[by])
    of_rounding = _difference(wanted, _logits(exact))
    del exact
    difference = _difference(wanted, _logits(stored.float()))
    accuracy = _EXACT * float(wanted.abs().max())
    bound = accuracy + _ROUNDINGS * of_rounding
    measured = {
        "rounding_logit_difference": of_rounding,
        "float32_logit_difference": in_float32,
        "weight_difference": weights.off,
        "worst_tensor": weights.tensor,
        "bounds": {"max_logit_difference": bound, "float32_logit_difference": accuracy, "weight_difference": 1.0},
    }
    events.effective(summary={"max_logit_difference": difference}, receipt=measured)
    checks = [
        ("float32_logit_difference", in_float32, accuracy, "PEFT's merge in float32 does not compute what"),
        ("weight_difference", weights.off, 1.0, f"{weights.tensor} is not the rounded sum of what"),
        ("max_logit_difference", difference, bound, "the merged model's logits differ from what"),
    ]
    wrong = []
    for name, found, most, words in checks:
        passed = found <= most  # False for a NaN
        events.gate(name, passed, found, f"<= {most:.3g}")
        if not passed:
            wrong.append(f"{words} base + adapter are: {name} is {found:.3g}, more than {most:.3g}")
    if wrong:
        raise ActionError("; ".join(wrong), slug="merge-differs")


def _rounded_to(dtypes: list[str]) -> list[str]:
    """What weights may be rounded to. Of a wider float that is float32, in which everything is compared; integers, such
    as buffers may be, are not rounded."""
    known = [name for name in dtypes if name in DTYPES]
    return known if len(known) == len(dtypes) else sorted({*known, "float32"})


@torch.no_grad()
def _logits(model: Any) -> torch.Tensor:
    """[3, 16, vocabulary] logits on fixed random tokens; the model is left on the CPU."""
    device = "cuda" if torch.cuda.is_available() else "cpu"
    ids = torch.randint(
        model.config.get_text_config().vocab_size, (_SEQUENCES, _LENGTH), generator=torch.Generator().manual_seed(0)
    )
    logits_BTV: torch.Tensor = model.to(device)(input_ids=ids.to(device), use_cache=False).logits.float().cpu()
    model.to("cpu")
    return logits_BTV


def _difference(before: torch.Tensor, after: torch.Tensor) -> float:
    return float((before - after).abs().max())


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
    worst = Weights("", 0.0)
    for name, value in exact.state_dict().items():
        held = found.pop(name, None)
        if held is None or held.shape != value.shape:
            return Weights(name, float("inf"))
        off = _rounded(value, held, dtypes, slack)
        if not off <= worst.off:
            worst = Weights(name, off)
    return Weights(min(found), float("inf")) if found else worst


def _rounded(value: torch.Tensor, held: torch.Tensor, dtypes: list[torch.dtype], slack: float) -> float:
    """Rounds `value` to the dtype that fits what is stored best. How far that is off, as a part of what it may be."""
    if not value.is_floating_point():
        return 0.0 if torch.equal(value, held) else float("inf")
    held = held.float()
    tried = []
    for dtype in dtypes:
        rounded = value.to(dtype).float()
        most = slack * _norm(rounded - value) + _SUMS * _norm(value)
        off = _norm(torch.where(held == rounded, 0.0, held - rounded))
        tried.append((off / most if off else 0.0, rounded))
    best, rounded = min(tried, key=lambda one: one[0])
    value.copy_(rounded)
    return best


def _norm(tensor: torch.Tensor) -> float:
    return float(torch.linalg.vector_norm(tensor))
