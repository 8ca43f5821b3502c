"""Bytes that a training step holds at its worst moment, by part, on one device; and what the device has.

Weights, gradients and optimizer are arithmetic. Activations are what autograd keeps of a decoder layer, an
approximation; logits are those of Transformers' own loss: in the model's dtype, in float32, and their gradient.
"""

from __future__ import annotations

import re
import shutil
import subprocess
from collections.abc import Mapping
from pathlib import Path
from typing import Any, NamedTuple

from tunekit.plan.estimate.shapes import Weights

_BYTES = {"float32": 4, "bfloat16": 2, "float16": 2}
# Bytes a weight of linear layers, with the scales of its block of 64 (which are 8 bits themselves by default), or row
_QUANTIZED = {"nf4": (4 + 8 / 64 + 32 / (64 * 256)) / 8, "int8": 1.0 + 4 / 4096}
_PLAIN_SCALES = (4 + 32 / 64) / 8  # of nf4 without `double_quant`
_SEQUENCES = {"dpo": 2, "ipo": 2, "orpo": 2, "simpo": 2, "reward": 2}  # a row is a pair


class Memory(NamedTuple):
    """Bytes."""

    weights: int
    gradients: int
    optimizer: int
    activations: int
    logits: int

    @property
    def total(self) -> int:
        return sum(self)


class Device(NamedTuple):
    """`kind`: "cpu" or "cuda"; `total` and `free` bytes of its memory."""

    kind: str
    name: str
    total: int
    free: int


def memory_of(weights: Weights, trained: int, method: str, spec: Mapping[str, Any], tokens: int) -> Memory:
    """`spec`: a run's settings with their defaults; `tokens`: of one forward pass."""
    size = _BYTES[spec.get("dtype", "float32")]
    adapter = spec.get("adapter") if isinstance(spec.get("adapter"), dict) else None
    own = 4 if adapter else size  # PEFT keeps an adapter in float32
    config, tensors = _text(weights.config), weights.tensors
    frozen = weights.parameters - (0 if adapter else trained)
    quantized = _QUANTIZED.get((adapter or {}).get("quantize", "none"), 0.0)
    if quantized and not (adapter or {}).get("double_quant", True):
        quantized = _PLAIN_SCALES
    linear = sum(s[0] * s[1] for n, s in tensors.items() if len(s) == 2 and not re.search("embed|lm_head|wte|wpe", n))
    held = linear * quantized + (frozen - linear) * size if quantized else frozen * size
    copies = tokens * _SEQUENCES.get(method, 1)
    vocabulary = int(config.get("vocab_size", 0))
    fused = spec.get("loss_kernel") == "liger"
    return Memory(
        weights=int(held + trained * own),
        gradients=trained * own,
        optimizer=int(trained * _states(str(spec.get("optimizer", "adamw_torch")), own)),
        activations=_activations(config, copies, size, bool(spec.get("gradient_checkpointing"))),
        logits=0 if fused else copies * vocabulary * (size + 8),
    )


def _states(optimizer: str, size: int) -> float:
    """Bytes a parameter of the optimizer's state."""
    moments = 1 if "lion" in optimizer or "sgd" in optimizer or "rmsprop" in optimizer or "adagrad" in optimizer else 2
    if "adafactor" in optimizer or "came" in optimizer:
        return 0.1 * size  # rows and columns only
    if "4bit" in optimizer:
        return moments * 0.5
    return moments * 1.0 if "8bit" in optimizer or "fp8" in optimizer else moments * size


def _activations(c: Mapping[str, Any], tokens: int, size: int, recomputed: bool) -> int:
    """Of a layer autograd keeps: inputs of both norms (in float32, too), what goes into the projections, queries, keys,
    values, what attention puts out, and four tensors of the MLP. Recomputed: a layer's input each, and one layer."""
    hidden, layers = int(c.get("hidden_size", 0)), int(c.get("num_hidden_layers", 0))
    heads = int(c.get("num_attention_heads") or 1)
    width = int(c.get("head_dim") or hidden // heads)
    keys = int(c.get("num_key_value_heads") or heads) * width
    middle = int(c.get("intermediate_size") or 4 * hidden)
    norms = 2 * hidden * (4 + size)
    layer = norms + size * (2 * hidden + 2 * heads * width + 2 * keys + hidden + 4 * middle)
    return tokens * (layers * hidden * size + layer if recomputed else layers * layer)


def _text(config: dict[str, Any]) -> dict[str, Any]:
    """Of a model that sees, too: the settings of its language part."""
    found = config.get("text_config")
    return {**config, **found} if isinstance(found, dict) else config


def device() -> Device:
    """The first GPU that nvidia-smi tells of, else this machine's memory (or what its control group leaves)."""
    return _gpu() or _cpu()


def _gpu() -> Device | None:
    program = shutil.which("nvidia-smi")
    if program is None:
        return None
    query = [program, "--query-gpu=name,memory.total,memory.free", "--format=csv,noheader,nounits"]
    try:
        done = subprocess.run(query, capture_output=True, text=True, timeout=10, check=True)
        name, total, free = done.stdout.splitlines()[0].rsplit(", ", 2)
        return Device("cuda", name, int(total) << 20, int(free) << 20)
    except (OSError, subprocess.SubprocessError, ValueError, IndexError):
        return None


def _cpu() -> Device:
    try:
        lines = dict(line.split(":", 1) for line in Path("/proc/meminfo").read_text().splitlines())
        total, free = (int(lines[k].split()[0]) << 10 for k in ("MemTotal", "MemAvailable"))
    except (OSError, KeyError, ValueError):
        return Device("cpu", "memory", 0, 0)
    for file in ("/sys/fs/cgroup/memory.max", "/sys/fs/cgroup/memory/memory.limit_in_bytes"):
        try:
            limit = int(Path(file).read_text())
        except (OSError, ValueError):
            continue
        if limit < total:
            total, free = limit, min(free, limit)
    return Device("cpu", "memory", total, free)
