"""Estimates of runs for people and for programs."""

from __future__ import annotations

from typing import Any

from tunekit.plan.estimate.memory import Device, Memory
from tunekit.plan.estimate.run import Estimate
from tunekit.report.figures import size


def estimate_lines(found: list[Estimate], on: Device) -> list[str]:
    """A few lines a run; the device first."""
    if not found:
        return ["no run to estimate"]
    has = f"{size(on.total)} ({size(on.free)} free now)" if on.total else "not known"
    out = [f"device: {on.name}, {has}"]
    for e in found:
        out += ["", f"{e.label}", *(f"  {line}" for line in _lines(e, on))]
    return out


def _lines(e: Estimate, on: Device) -> list[str]:
    out = []
    if e.parameters is not None and e.trained is not None:
        share = f"{100 * e.trained / max(e.parameters, 1):.2g} %"
        out.append(f"parameters  {count(e.parameters)}, {count(e.trained)} trained ({share})")
    v = e.volume
    if v.steps is not None:
        rows = f", {count(v.rows)} rows" if v.rows is not None else ""
        tokens = f", {count(v.tokens)} tokens" if v.tokens is not None else ""
        out.append(f"steps       {v.steps}{rows}{tokens}")
    if e.memory is not None:
        parts = ", ".join(f"{name} {size(n)}" for name, n in e.memory._asdict().items())
        verdict = {True: "fits", False: "DOES NOT FIT", None: "device not known"}[e.fits(on)]
        out.append(f"memory      about {size(e.memory.total)}: {verdict}")
        out.append(f"            {parts}")
        out.append(f"            for {e.rows} sequences of at most {e.sequence} tokens at once")
        out += [f"            {hint}" for hint in _ways_out(e, on)]
    return out + [f"unknown     {why}" for why in e.unknown]


def _ways_out(e: Estimate, on: Device) -> list[str]:
    """The largest part says what helps."""
    if e.fits(on) is not False or e.memory is None:
        return []
    parts = e.memory._asdict()
    ways = {
        "weights": 'dtype = "bfloat16", or an adapter with quantize = "nf4"',
        "gradients": "an adapter instead of full weights",
        "optimizer": 'an adapter, or optimizer = "adamw_bnb_8bit"',
        "activations": "a smaller micro_batch_size, gradient_checkpointing = true, a shorter sequence_len",
        "logits": 'a smaller micro_batch_size, or loss_kernel = "liger"',
    }
    return [f"the largest part is {(largest := max(parts, key=lambda k: parts[k]))}: {ways[largest]}"]


def estimate_json(e: Estimate, on: Device) -> dict[str, Any]:
    return {
        "label": e.label,
        "parameters": e.parameters,
        "trained": e.trained,
        "rows": e.volume.rows,
        "tokens": e.volume.tokens,
        "steps": e.volume.steps,
        "memory": _memory(e.memory),
        "fits": e.fits(on),
        "unknown": e.unknown,
    }


def _memory(found: Memory | None) -> dict[str, int] | None:
    return {**found._asdict(), "total": found.total} if found else None


def device_json(on: Device) -> dict[str, Any]:
    return on._asdict()


def count(number: int) -> str:
    """`135.2M`, `4,096`."""
    for power, letter in ((1e12, "T"), (1e9, "B"), (1e6, "M")):
        if number >= power:
            return f"{number / power:.4g}{letter}"
    return f"{number:,}"
