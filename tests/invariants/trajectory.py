"""What several runs must share: loss and gradient norm of every step, and the weights at the end."""

from __future__ import annotations

from pathlib import Path
from typing import Any, NamedTuple

import torch
from safetensors.torch import load_file


class Trajectory(NamedTuple):
    """`figures`: per logged step, those of `NAMES` that it has. `weights`: of the `last` output."""

    steps: list[int]
    figures: list[dict[str, float]]
    weights: dict[str, torch.Tensor]


NAMES = ("loss", "grad_norm")


def trajectory_of(outputs: dict[str, Path], events: Any, names: tuple[str, ...] = NAMES) -> Trajectory:
    """`events`: what `tiny_stack.Recorder` heard."""
    points = [(step, {n: f[n] for n in names if n in f}) for step, f in events.metrics]
    points = [(step, figures) for step, figures in points if figures]
    (file,) = outputs["last"].glob("*model.safetensors")
    return Trajectory([step for step, _ in points], [figures for _, figures in points], load_file(file))


def assert_shared(found: Trajectory, expected: Trajectory, tolerance: float = 1e-5) -> None:
    """The same steps, figures and weights within `tolerance` (relative; for weights absolute, too: Adam's first steps
    turn the sign of a gradient near zero into a whole step)."""
    assert found.steps == expected.steps
    for step, ours, theirs in zip(expected.steps, found.figures, expected.figures, strict=True):
        assert ours.keys() == theirs.keys()
        for name, value in theirs.items():
            assert abs(ours[name] - value) <= tolerance * max(abs(value), 1.0), (step, name, ours[name], value)
    assert found.weights.keys() == expected.weights.keys()
    for name, weight in expected.weights.items():
        torch.testing.assert_close(found.weights[name], weight, rtol=tolerance, atol=tolerance, msg=name)
