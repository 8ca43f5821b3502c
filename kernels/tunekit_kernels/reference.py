"""Plain torch version of the selective log-softmax, and the argument checks that it shares with the kernel.

Needs no triton. Tests and benchmarks compare the kernel with this; it is also what a caller runs where
:func:`tunekit_kernels.is_available` says no.
"""

import math
from typing import Literal, overload

import torch

LOGITS_DTYPES = (torch.float32, torch.bfloat16, torch.float16)


def check_inputs(logits: torch.Tensor, index: torch.Tensor, temperature: float) -> None:
    """Check shapes, dtypes, devices and the temperature (never the values: that would read the device).

    Raises:
        ValueError: names the argument, what it is, and what it should be.
    """
    if logits.dtype not in LOGITS_DTYPES:
        names = ", ".join(str(dtype) for dtype in LOGITS_DTYPES)
        raise ValueError(f"logits: {logits.dtype}, shape {tuple(logits.shape)}; expected one of {names}")
    if logits.ndim < 1 or logits.shape[-1] < 1:
        raise ValueError(f"logits: shape {tuple(logits.shape)}; expected (..., V) with V of at least 1")
    if index.dtype != torch.int64:
        raise ValueError(f"index: {index.dtype}, shape {tuple(index.shape)}; expected torch.int64")
    if index.shape != logits.shape[:-1]:
        raise ValueError(
            f"index: shape {tuple(index.shape)}; expected {tuple(logits.shape[:-1])}, "
            f"the shape of logits {tuple(logits.shape)} without its last dimension"
        )
    if index.device != logits.device:
        raise ValueError(f"index: on {index.device}, shape {tuple(index.shape)}; logits on {logits.device}")
    if not (temperature > 0 and math.isfinite(temperature)):
        raise ValueError(f"temperature: {temperature}; expected a finite number above 0")


@overload
def selective_log_softmax_reference(
    logits: torch.Tensor, index: torch.Tensor, temperature: float = ..., return_entropy: Literal[False] = ...
) -> torch.Tensor: ...
@overload
def selective_log_softmax_reference(
    logits: torch.Tensor, index: torch.Tensor, temperature: float = ..., *, return_entropy: Literal[True]
) -> tuple[torch.Tensor, torch.Tensor]: ...
def selective_log_softmax_reference(
    logits: torch.Tensor, index: torch.Tensor, temperature: float = 1.0, return_entropy: bool = False
) -> torch.Tensor | tuple[torch.Tensor, torch.Tensor]:
    """``log_softmax(logits / temperature)[..., index]`` in float32, by the textbook.

    Simple on purpose: it builds ``(..., V)`` float32 tensors, several of them, which the kernel avoids.

    Args:
        logits: ``(..., V)``, float32, bfloat16 or float16. An entry of -inf is a masked token.
        index: ``(...)``, int64, each in ``[0, V)``.
        temperature: sampling temperature, above 0, no unit.
        return_entropy: also return the entropy of each softmax.

    Returns:
        ``logp``, ``(...)`` float32 in nats, differentiable in ``logits``; or ``(logp, entropy)``, the entropy
        ``(...)`` float32 in nats and detached.

    Raises:
        ValueError: an argument of the wrong shape, dtype, device or value.
        RuntimeError: an index out of range, from ``torch.gather`` (on the CPU; a device assert on CUDA).
    """
    check_inputs(logits, index, temperature)
    log_probs = torch.log_softmax(logits.float() / temperature, dim=-1)
    logp = log_probs.gather(-1, index.unsqueeze(-1)).squeeze(-1)
    if not return_entropy:
        return logp
    return logp, torch.special.entr(log_probs.detach().exp()).sum(-1)
