"""The estimate of one run: parameters, steps and tokens, memory against the device."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, NamedTuple

from tunekit.derive import Action
from tunekit.kinds import kind_of
from tunekit.plan.estimate.memory import Device, Memory, memory_of
from tunekit.plan.estimate.shapes import Unknown, weights_of
from tunekit.plan.estimate.trained import trained
from tunekit.plan.estimate.volume import Volume, volume_of
from tunekit.plan.planner import Planner
from tunekit.spec import fields_of, plain

_ROOM = {"cpu": 0.95, "cuda": 0.92}  # the share of a device that a training can have: CUDA itself takes some


class Estimate(NamedTuple):
    """`unknown`: what could not be said, and why. `sequence`: tokens of the longest row that memory is counted for,
    `rows`: of a forward pass."""

    label: str
    parameters: int | None
    trained: int | None
    volume: Volume
    memory: Memory | None
    sequence: int
    rows: int
    unknown: list[str]

    def fits(self, on: Device) -> bool | None:
        """Whether the device has room; None where either is not known."""
        if self.memory is None or not on.total:
            return None
        return self.memory.total <= on.total * _ROOM[on.kind]


def estimates_of(planner: Planner, labels: list[str]) -> list[Estimate]:
    """Of every run that a build of the labels needs, planned before."""
    runs = [label for label in planner.graph.closure(labels) if planner.graph.actions[label].kind.startswith("run.")]
    return [estimate(planner, label) for label in runs if "#" not in label]


def estimate(planner: Planner, label: str) -> Estimate:
    action = planner.graph.actions[label]
    spec = settings_of(action)
    volume = volume_of(planner, label, spec)
    unknown = [] if volume.steps is not None else ["steps: its datasets are not built yet"]
    rows = int(spec.get("micro_batch_size") or spec["batch_size"])
    sequence = _longest(spec)
    base = action.inputs.get("base")
    found = weights_of(planner, base[0].action) if base else Unknown("it names no base")
    if isinstance(found, Unknown):
        return Estimate(label, None, None, volume, None, sequence, rows, [*unknown, f"parameters: {found.why}"])
    adapter = _adapter(planner, action)
    if adapter:
        spec = {**spec, "adapter": adapter}
    count = trained(found.tensors, spec)
    memory = memory_of(found, count, str(spec["method"]), spec, rows * sequence) if sequence else None
    if memory is None:
        unknown.append("memory: the length of its rows is not declared")
    total = found.parameters + (count if isinstance(spec.get("adapter"), dict) else 0)
    return Estimate(label, total, count, volume, memory, sequence, rows, unknown)


def settings_of(action: Action) -> dict[str, Any]:
    """All settings of a run as JSON values; those that were not said have their defaults."""
    found = {}
    for name, info in fields_of(kind_of(action.kind).spec_type()).items():
        found[name] = action.spec[name] if name in action.spec else plain(info.default)
    return found


def _longest(spec: Mapping[str, Any]) -> int:
    if "max_completion_length" in spec:
        return int(spec.get("max_prompt_length") or 0) + int(spec["max_completion_length"])
    return int(spec.get("sequence_len") or 0)


def _adapter(planner: Planner, action: Action) -> dict[str, Any] | None:
    """The one that is continued: as the run that made it declares it."""
    while "adapter" in action.inputs:
        action = planner.graph.actions[action.inputs["adapter"][0].action]
        if isinstance(action.spec.get("adapter"), dict):
            return dict(action.spec["adapter"])
    return None
