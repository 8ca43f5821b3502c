"""The receipt of a merge: that what is stored is base + adapter, but for what rounding to the stored dtype does.

An absolute bound on logits says nothing of bfloat16: rounding 30 layers moves single logits by a third, which hides a
module that was left out. So the merge is made a second time, by PEFT, in float32, and held against three bounds:

1. its logits are those of base + adapter, to float32's accuracy: it is the exact merge;
2. every stored tensor is the exact one rounded: off by less than a quarter of what rounding alone does to the tensor;
3. the logits of what is stored are off by at most twice what those of the exact merge, rounded, are off by.

The second finds what drowns in the logits' noise; tensors that the adapter leaves alone must not change at all. What
was trained on a base in 4 bits is held against that base, as its layers compute with it.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import NamedTuple

import torch

from tunekit.engine import weights
from tunekit.engine.loading import DTYPES
from tunekit.engine.weights import Slot
from tunekit.errors import ActionError
from tunekit.protocol import Events
from tunekit.steps.merge.lora import LoraMerge
from tunekit.steps.merge.names import Group, Layout
from tunekit.steps.merge.streamed import Streamed, token_ids

# Of the largest logit; some 800 roundings of float32. SmolLM2-135M: 30 layers, and 1e-5.
_EXACT = 1e-4
# Of the norm of a tensor: another order of summing up in float32.
_SUMS = 1e-6
# Of the rounding of a tensor. The streaming merge rounds once, so only values between two neighbours may go the other
# way. PEFT's merge of a whole model computes in the stored dtype, and rounds at every operation.
SLACK = {"stream": 0.25, "peft": 4.0}
_ROUNDINGS = 2.0
_ROWS = 1 << 22  # elements that are compared at once


class Weights(NamedTuple):
    """The stored tensor that is furthest from the exact one, as a part of what it may be off by; and whether all of
    them are the exact ones, rounded, to the bit."""

    tensor: str
    off: float
    same: bool


class Logits(NamedTuple):
    """[3, 16, vocabulary] each, in float32: of base + adapter, the exact merge, that one rounded, what is stored."""

    wanted: torch.Tensor
    exact: torch.Tensor
    rounded: torch.Tensor
    stored: torch.Tensor


def receipt(exact: LoraMerge, merged: str, dtypes: list[str], events: Events) -> None:
    """`exact`: the merge in float32, made anew. In memory is one layer at a time.

    Raises ActionError `merge-differs`."""
    found = exact.skeleton
    stored = stored_as(found.layout, merged, exact)
    off = compare(exact, stored, [DTYPES[name] for name in rounded_to(dtypes)])
    ids = token_ids(found.base.config.get_text_config().vocab_size)
    wanted = Streamed(found.peft).logits(ids, exact.unmerged, exact.kept_slot)
    plain = Streamed(found.peft, adapted=False)
    in_store = plain.logits(ids, stored.tensor, stored.slot)
    in_float32 = in_store
    if not off.same or dtypes != ["float32"]:
        in_float32 = plain.logits(ids, exact.exact, exact.kept_slot)
    rounded = in_store
    if not off.same:
        rounded = plain.logits(ids, lambda name: _rounded(exact, stored, name, dtypes), lambda name: None)
    judge(Logits(wanted, in_float32, rounded, in_store), off, events)


class Stored:
    """The result's files by the names of the model."""

    def __init__(self, layout: Layout, tied: tuple[str, str] | None) -> None:
        self._layout = layout
        self._tied = tied
        self._held: tuple[str, dict[str, torch.Tensor]] = ("", {})

    def slot(self, name: str) -> Slot | None:
        """Where a tensor lies, if it is one of the files'."""
        return self._layout.slot_of(self._tied[0] if self._tied and name == self._tied[1] else name)

    def tensor(self, name: str) -> torch.Tensor:
        """In the dtype in which it is stored."""
        if slot := self.slot(name):
            return weights.read(slot)
        group = self._layout.by_name.get(name)
        if group is None:
            raise ActionError(f"the merged model has no {name}", slug="merge-differs")
        if self._held[0] != group.names[0]:
            self._held = (group.names[0], group.tensors())
        return self._held[1][name]


def stored_as(layout: Layout, merged: str, exact: LoraMerge) -> Stored:
    """ActionError `merge-differs` if the result has tensors that the base has not, or the other way round."""
    slots = weights.slots_of(merged)
    expected = {slot.name for slot in exact.slots()}
    if slots.keys() != expected:
        odd = sorted(slots.keys() ^ expected)
        raise ActionError(f"{odd[0]} is in one of base and merged model only", slug="merge-differs")
    by_slot = {
        name: group._replace(slots=[slots[slot.name] for slot in group.slots]) for name, group in layout.by_slot.items()
    }
    groups = {group.names[0]: group for group in by_slot.values()}
    by_name = {name: group for group in groups.values() for name in group.names}
    for name in expected - by_slot.keys():
        by_name[name] = Group([slots[name]], [name])
    return Stored(Layout(by_name, by_slot), None if exact.untied else exact.skeleton.tied)


def compare(exact: LoraMerge, stored: Stored, dtypes: list[torch.dtype]) -> Weights:
    """How far the stored tensors are from the exact ones."""
    worst = Weights("", 0.0, True)
    for name in exact.names():
        if _same_bytes(exact.kept_slot(name), stored.slot(name)):
            continue
        held, value = stored.tensor(name), exact.exact(name)
        if held.shape != value.shape:
            return Weights(name, float("inf"), False)
        off, same = distance(value, held, dtypes, SLACK["stream"])
        worst = Weights(*((name, off) if not off <= worst.off else worst[:2]), worst.same and same)
    return worst


def _same_bytes(one: Slot | None, other: Slot | None) -> bool:
    if one is None or other is None or (one.dtype, one.shape) != (other.dtype, other.shape):
        return False
    return all(torch.equal(a, b) for a, b in zip(weights.slices(one), weights.slices(other), strict=True))


def distance(value: torch.Tensor, held: torch.Tensor, dtypes: list[torch.dtype], slack: float) -> tuple[float, bool]:
    """Of the stored tensor from the exact one, rounded to the dtype that fits best: as a part of what it may be off
    by; and whether they are the same."""
    if not value.is_floating_point() or not held.is_floating_point():
        same = torch.equal(value, held)
        return (0.0 if same else float("inf")), same
    if held.dtype in dtypes and torch.equal(value.to(held.dtype), held):
        return 0.0, True
    tried = [_off(value, held, dtype, slack) for dtype in dtypes]
    return min(tried)[0], any(same for _, same in tried)


def _off(value: torch.Tensor, held: torch.Tensor, dtype: torch.dtype, slack: float) -> tuple[float, bool]:
    """In pieces: squares add up."""
    between = rounding = size = 0.0
    for exact, found in zip(_pieces(value), _pieces(held), strict=True):
        rounded = exact.to(dtype).float()
        gap = found.float() - rounded
        gap[found == rounded] = 0  # infinities
        between += float(gap.square().sum())
        rounding += float((rounded - exact).square().sum())
        size += float(exact.square().sum())
    if between == 0:
        return 0.0, True
    most = slack * rounding**0.5 + _SUMS * size**0.5
    return (between**0.5 / most if most else float("inf")), False


def _pieces(tensor: torch.Tensor) -> Iterable[torch.Tensor]:
    return tensor.reshape(-1).split(_ROWS)


def _rounded(exact: LoraMerge, stored: Stored, name: str, dtypes: list[str]) -> torch.Tensor:
    """The exact tensor in the dtype in which it is stored, if weights may be rounded to that."""
    value, held = exact.exact(name), stored.tensor(name)
    name_of = str(held.dtype).removeprefix("torch.")
    return value.to(held.dtype) if name_of in rounded_to(dtypes) else value


def rounded_to(dtypes: list[str]) -> list[str]:
    """What weights may be rounded to. Of a wider float that is float32, in which everything is compared; integers, such
    as buffers may be, are not rounded."""
    known = [name for name in dtypes if name in DTYPES]
    return known if len(known) == len(dtypes) else sorted({*known, "float32"})


def judge(found: Logits, weights: Weights, events: Events) -> None:
    """Raises ActionError `merge-differs`; every figure and its bound is in the record either way."""
    in_float32 = _difference(found.wanted, found.exact)
    of_rounding = _difference(found.wanted, found.rounded)
    difference = _difference(found.wanted, found.stored)
    accuracy = _EXACT * float(found.wanted.abs().max())
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
    for name, value, most, words in checks:
        passed = value <= most  # False for a NaN
        events.gate(name, passed, value, f"<= {most:.3g}")
        if not passed:
            wrong.append(f"{words} base + adapter are: {name} is {value:.3g}, more than {most:.3g}")
    if wrong:
        raise ActionError("; ".join(wrong), slug="merge-differs")


def _difference(before: torch.Tensor, after: torch.Tensor) -> float:
    return float((before - after).abs().max())
