"""Triton kernel for GRPO's per-token log-probability: log-softmax at one index per row.

GRPO (Shao et al. 2024, "DeepSeekMath", arXiv:2402.03300) needs the log-probability of each sampled token: one
number out of V logits. Torch's ``log_softmax`` then ``gather`` writes an (N, V) tensor, reads N numbers of it
and keeps it for the backward pass. Here one program per row walks over V in blocks with the online softmax
(Milakov & Gimelshein 2018, arXiv:1805.02867): no (N, V) intermediate, and one float32 per row (the logsumexp)
kept beside the logits. The backward pass recomputes the softmax; its gradient is the only (N, V) tensor made.
The entropy comes from the same pass, for logging: no gradient flows through it.
"""

from typing import Any, Literal, overload

import torch
import triton
import triton.language as tl
from torch.autograd.function import once_differentiable

from tunekit_kernels.availability import is_available
from tunekit_kernels.reference import check_inputs, selective_log_softmax_reference

__all__ = ["selective_log_softmax", "selective_log_softmax_reference"]

MAX_BLOCK = 4096  # logits held by one program at a time: 16 float32 for each thread of 8 warps


@triton.jit
def _forward_kernel(
    logits_ptr: tl.tensor,  # (outer, inner, V), last stride 1
    index_ptr: tl.tensor,  # (outer * inner,) int64
    logp_ptr: tl.tensor,  # (outer * inner,) float32, written
    lse_ptr: tl.tensor,  # (outer * inner,) float32, written
    entropy_ptr: tl.tensor,  # (outer * inner,) float32, written if WITH_ENTROPY
    outer_stride: tl.tensor,
    inner_stride: tl.tensor,
    inner: tl.tensor,
    inv_temperature: tl.tensor,
    VOCAB: tl.constexpr,
    WITH_ENTROPY: tl.constexpr,
    BLOCK: tl.constexpr,
) -> None:
    row = tl.program_id(0).to(tl.int64)  # row * stride passes 2**31 at real sizes
    logits_ptr += (row // inner) * outer_stride + (row % inner) * inner_stride
    # With x = logits / temperature, over the entries seen so far:
    peak = tl.full((), float("-inf"), tl.float32)  # max(x)
    total = tl.full((), 0.0, tl.float32)  # sum(exp(x - peak))
    weighted = tl.full((), 0.0, tl.float32)  # sum(exp(x - peak) * (x - peak))
    for start in range(0, VOCAB, BLOCK):
        columns = start + tl.arange(0, BLOCK)
        x = tl.load(logits_ptr + columns, mask=columns < VOCAB, other=float("-inf"))
        x = x.to(tl.float32) * inv_temperature
        new_peak = tl.maximum(peak, tl.max(x, axis=0))
        base = tl.where(new_peak == float("-inf"), 0.0, new_peak)  # all masked so far: avoid -inf - -inf
        rescale = tl.exp(peak - base)  # 0 in the first block
        e = tl.exp(x - base)
        if WITH_ENTROPY:
            moved = weighted + tl.where(rescale > 0, peak - base, 0.0) * total  # weight 0 times -inf is 0
            weighted = moved * rescale + tl.sum(e * tl.where(e > 0, x - base, 0.0), axis=0)
        total = total * rescale + tl.sum(e, axis=0)
        peak = new_peak
    log_total = tl.log(total)
    index = tl.load(index_ptr + row)
    in_range = (index >= 0) & (index < VOCAB)  # out of range must not read foreign memory; it gives NaN
    chosen = tl.load(logits_ptr + index, mask=in_range, other=float("nan")).to(tl.float32) * inv_temperature
    tl.store(logp_ptr + row, (chosen - peak) - log_total)  # in this order a large offset of the row is exact
    tl.store(lse_ptr + row, peak + log_total)
    if WITH_ENTROPY:
        tl.store(entropy_ptr + row, log_total - weighted / total)


@triton.jit
def _backward_kernel(
    logits_ptr: tl.tensor,  # (outer, inner, V), last stride 1
    index_ptr: tl.tensor,  # (outer * inner,) int64
    lse_ptr: tl.tensor,  # (outer * inner,) float32
    grad_logp_ptr: tl.tensor,  # (outer * inner,) float32
    grad_logits_ptr: tl.tensor,  # (outer * inner, V) contiguous, written in the dtype of logits
    outer_stride: tl.tensor,
    inner_stride: tl.tensor,
    inner: tl.tensor,
    inv_temperature: tl.tensor,
    VOCAB: tl.constexpr,
    BLOCK: tl.constexpr,
) -> None:
    row = tl.program_id(0).to(tl.int64)
    columns = tl.program_id(1) * BLOCK + tl.arange(0, BLOCK)
    mask = columns < VOCAB
    logits_ptr += (row // inner) * outer_stride + (row % inner) * inner_stride
    x = tl.load(logits_ptr + columns, mask=mask, other=float("-inf")).to(tl.float32) * inv_temperature
    one_hot = (columns == tl.load(index_ptr + row)).to(tl.float32)
    scale = tl.load(grad_logp_ptr + row) * inv_temperature
    grad = scale * (one_hot - tl.exp(x - tl.load(lse_ptr + row)))
    tl.store(grad_logits_ptr + row * VOCAB + columns, grad.to(grad_logits_ptr.dtype.element_ty), mask=mask)


def _as_rows(logits: torch.Tensor) -> torch.Tensor:
    """``(..., V)`` as ``(outer, inner, V)`` with last stride 1, without a copy for up to 3 dimensions.

    Two row strides rather than one, for ``logits[:, :-1]``: GRPO drops the last position, and flattening that
    view to (N, V) would copy every logit.
    """
    if logits.stride(-1) != 1:
        logits = logits.contiguous()  # strided reads fetch a whole sector per logit: a copy is cheaper
    if logits.ndim <= 3:
        return logits[(None,) * (3 - logits.ndim)]
    return logits.flatten(0, -3)  # copies only if the leading dimensions cannot be merged into one stride


def _constants(rows: torch.Tensor) -> dict[str, int]:
    """What a kernel is compiled for: one vocabulary size, as a model has only one."""
    block = min(MAX_BLOCK, triton.next_power_of_2(rows.shape[2]))
    return {"VOCAB": rows.shape[2], "BLOCK": block, "num_warps": 8 if block >= 2048 else 4}


def _launch_forward(
    rows: torch.Tensor, index: torch.Tensor, temperature: float, with_entropy: bool
) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    """``rows`` (outer, inner, V), ``index`` (outer * inner,) -> logp, lse, entropy, each shaped as index."""
    logp, lse = (torch.empty(index.shape, dtype=torch.float32, device=rows.device) for _ in range(2))
    entropy = torch.empty(index.shape if with_entropy else (0,), dtype=torch.float32, device=rows.device)
    if index.numel():  # an empty grid cannot be launched
        layout = (rows.stride(0), rows.stride(1), rows.shape[1])
        with torch.cuda.device_of(rows):  # triton launches on the current device; no effect for CPU tensors
            _forward_kernel[(index.numel(),)](
                rows, index, logp, lse, entropy, *layout, 1.0 / temperature,
                WITH_ENTROPY=with_entropy, **_constants(rows),
            )  # fmt: skip
    return logp, lse, entropy


def _launch_backward(
    rows: torch.Tensor, index: torch.Tensor, lse: torch.Tensor, grad_logp: torch.Tensor, temperature: float
) -> torch.Tensor:
    """Gradient of the logits, contiguous, (outer, inner, V) in their dtype; the other arguments as above."""
    grad_logits = torch.empty(rows.shape, dtype=rows.dtype, device=rows.device)
    if index.numel():
        layout, constants = (rows.stride(0), rows.stride(1), rows.shape[1]), _constants(rows)
        with torch.cuda.device_of(rows):
            _backward_kernel[(index.numel(), triton.cdiv(rows.shape[2], constants["BLOCK"]))](
                rows, index, lse, grad_logp, grad_logits, *layout, 1.0 / temperature, **constants
            )
    return grad_logits


class _SelectiveLogSoftmax(torch.autograd.Function):
    @staticmethod
    def forward(
        ctx: Any, logits: torch.Tensor, index: torch.Tensor, temperature: float, with_entropy: bool
    ) -> tuple[torch.Tensor, torch.Tensor]:
        flat_index = index.reshape(-1).contiguous()
        logp, lse, entropy = _launch_forward(_as_rows(logits), flat_index, temperature, with_entropy)
        ctx.save_for_backward(logits, flat_index, lse)  # not a view made here: changes are seen
        ctx.temperature = temperature
        entropy = entropy.view(index.shape if with_entropy else (0,))
        ctx.mark_non_differentiable(entropy)  # the very tensor returned, or the mark is lost
        return logp.view(index.shape), entropy

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, grad_logp: torch.Tensor, _: Any) -> tuple[torch.Tensor, None, None, None]:
        logits, index, lse = ctx.saved_tensors
        grad_logp = grad_logp.reshape(-1).contiguous()  # sum() hands over an expanded scalar of stride 0
        grad_logits = _launch_backward(_as_rows(logits), index, lse, grad_logp, ctx.temperature)
        return grad_logits.view(logits.shape), None, None, None


@overload
def selective_log_softmax(
    logits: torch.Tensor, index: torch.Tensor, temperature: float = ..., return_entropy: Literal[False] = ...
) -> torch.Tensor: ...
@overload
def selective_log_softmax(
    logits: torch.Tensor, index: torch.Tensor, temperature: float = ..., *, return_entropy: Literal[True]
) -> tuple[torch.Tensor, torch.Tensor]: ...
def selective_log_softmax(
    logits: torch.Tensor, index: torch.Tensor, temperature: float = 1.0, return_entropy: bool = False
) -> torch.Tensor | tuple[torch.Tensor, torch.Tensor]:
    """Fused ``log_softmax(logits / temperature)[..., index]`` in float32.

    Args:
        logits: ``(..., V)``, float32, bfloat16 or float16, any strides. An entry of -inf is a masked token; a
            row of nothing but -inf gives NaN, as in torch.
        index: ``(...)``, int64, each in ``[0, V)``. Out of range is undefined (a kernel cannot raise), so no
            labels of -100. Today such a row's logp is NaN.
        temperature: sampling temperature, above 0, no unit.
        return_entropy: also return the entropy of each softmax, from the same pass.

    Returns:
        ``logp``, ``(...)`` float32 in nats, once differentiable in ``logits`` (gradient in their dtype); or
        ``(logp, entropy)``, the entropy ``(...)`` float32 in nats. The entropy gets no gradient.

    Raises:
        ValueError: an argument of the wrong shape, dtype, device or value.
        RuntimeError: the kernel cannot run on the device of ``logits``, with the reason; it never falls back.
    """
    check_inputs(logits, index, temperature)
    available, why = is_available(logits.device)
    if not available:
        raise RuntimeError(f"selective_log_softmax: {why}")
    logp, entropy = _SelectiveLogSoftmax.apply(logits, index, temperature, return_entropy)
    return (logp, entropy) if return_entropy else logp
