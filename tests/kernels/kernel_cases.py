"""Cases, oracle and tolerances of the selective log-softmax, and the checks that need compiled kernels.

Imports no triton. ``python kernel_cases.py NAME`` runs one function of ``CHECKS`` with the kernels compiled:
``test_selective_log_softmax.py`` starts it so, since its own process runs them in the interpreter.
"""

import itertools
import os
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

import torch

if str(Path(__file__).parents[2] / "kernels") not in sys.path:  # until the package is installed
    sys.path.insert(0, str(Path(__file__).parents[2] / "kernels"))

SHAPES = ((1, 1), (7,), (5, 129), (2, 3, 64), (2, 1, 2, 50), (3, 4096), (2, 4097), (1, 9000))
DTYPES = (torch.float32, torch.bfloat16, torch.float16)
TEMPERATURES = (0.7, 1.0, 1.9)
CASES = tuple(itertools.product(SHAPES, DTYPES, TEMPERATURES))

# The inputs are exact in every dtype and the maths is float32, so one tolerance holds for all outputs: with
# |x| < 40, float32 rounds x / temperature by up to 2e-6 and the sums add a few of those.
OUTPUT_ATOL = 2e-5
# The gradient is rounded once to the dtype of the logits: half a unit in the last place, and float32's error.
# For bfloat16 a whole unit: Triton 3.9's interpreter truncates float32 to bfloat16 (compiled code rounds to
# nearest: see check_compiles).
GRAD_RTOL = {torch.float32: 2e-5, torch.bfloat16: 2**-7 + 2e-5, torch.float16: 2**-11 + 2e-5}
GRAD_ATOL = 2e-6

# Layouts of a contiguous (3, 5, 33).
VIEWS: dict[str, Callable[[torch.Tensor], torch.Tensor]] = {
    "without_last_position": lambda x: x[:, :-1],
    "every_other_row": lambda x: x[:, ::2],
    "transposed_rows": lambda x: x.transpose(0, 1),
    "part_of_vocabulary": lambda x: x[..., 3:20],
    "strided_vocabulary": lambda x: x[..., ::2],
    "vocabulary_first": lambda x: x.permute(2, 0, 1).contiguous().permute(1, 2, 0),
    "repeated_row": lambda x: x[:1, :1].expand(2, 3, -1),
    "four_dimensions": lambda x: x.unflatten(0, (3, 1)).transpose(0, 1)[:, :, :-1],
}

# Arguments that must raise a ValueError, and its message.
_X, _INDEX = torch.zeros(2, 5), torch.zeros(2, dtype=torch.int64)
BAD_ARGUMENTS: dict[str, tuple[tuple[Any, ...], str]] = {
    "float64": ((_X.double(), _INDEX), r"logits: torch\.float64, shape \(2, 5\)"),
    "no_vocabulary": ((_X[:, :0], _INDEX), r"logits: shape \(2, 0\)"),
    "scalar": ((_X[0, 0], _INDEX), r"logits: shape \(\)"),
    "int32_index": ((_X, _INDEX.int()), r"index: torch\.int32, shape \(2,\)"),
    "index_shape": ((_X, _INDEX[:1]), r"index: shape \(1,\); expected \(2,\).*\(2, 5\)"),
    "index_device": ((_X, _INDEX.to("meta")), r"index: on meta, shape \(2,\); logits on cpu"),
    "zero_temperature": ((_X, _INDEX, 0.0), r"temperature: 0\.0"),
    "nan_temperature": ((_X, _INDEX, float("nan")), r"temperature: nan"),
}


class Result(NamedTuple):
    logp: torch.Tensor
    entropy: torch.Tensor
    grad: torch.Tensor


def make_inputs(
    shape: tuple[int, ...], dtype: torch.dtype, seed: int = 0
) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    """Logits ``shape``, index and upstream gradient ``shape[:-1]``, fresh for each seed."""
    generator = torch.Generator().manual_seed(seed)
    logits = (torch.randn(shape, generator=generator) * 4).to(dtype)
    index = torch.randint(shape[-1], shape[:-1], generator=generator)
    return logits, index, torch.randn(shape[:-1], generator=generator)


def oracle(logits: torch.Tensor, index: torch.Tensor, temperature: float, grad_out: torch.Tensor) -> Result:
    """Float64 torch, on the CPU, by ``log_softmax`` and autograd: independent of the code under test."""
    x = logits.detach().cpu().double().requires_grad_()
    log_probs = torch.log_softmax(x / temperature, dim=-1)
    logp = log_probs.gather(-1, index.cpu().unsqueeze(-1)).squeeze(-1)
    (grad,) = torch.autograd.grad(logp, x, grad_out.cpu().double())
    return Result(logp.detach(), torch.special.entr(log_probs.detach().exp()).sum(-1), grad)


def run(
    fn: Callable[..., Any],
    logits: torch.Tensor,
    index: torch.Tensor,
    temperature: float,
    grad_out: torch.Tensor,
) -> Result:
    """``fn`` with entropy and the gradient of its logp; checks dtypes and shapes on the way."""
    x = logits.detach().requires_grad_()
    logp, entropy = fn(x, index, temperature, return_entropy=True)
    assert logp.dtype == entropy.dtype == torch.float32
    assert logp.shape == entropy.shape == index.shape
    assert logp.requires_grad and not entropy.requires_grad
    (grad,) = torch.autograd.grad(logp, x, grad_out)
    assert grad.dtype == logits.dtype and grad.shape == logits.shape
    return Result(logp.detach(), entropy, grad)


def assert_matches(actual: Result, expected: Result) -> None:
    """Compare with the tolerances above; NaN equals NaN, and -inf equals -inf."""
    dtype = actual.grad.dtype
    same: dict[str, Any] = {"check_dtype": False, "check_device": False, "equal_nan": True}
    torch.testing.assert_close(actual.logp.double().cpu(), expected.logp, rtol=1e-6, atol=OUTPUT_ATOL, **same)
    torch.testing.assert_close(actual.entropy.double().cpu(), expected.entropy, rtol=1e-6, atol=OUTPUT_ATOL, **same)
    torch.testing.assert_close(actual.grad.double().cpu(), expected.grad, rtol=GRAD_RTOL[dtype], atol=GRAD_ATOL, **same)


def check_refuses_cpu() -> None:
    """Compiled kernels refuse CPU tensors with the reason, and a late TRITON_INTERPRET is reported."""
    from tunekit_kernels import is_available
    from tunekit_kernels.selective_log_softmax import selective_log_softmax

    ok, why = is_available("cpu")
    assert not ok and "CUDA" in why and "TRITON_INTERPRET" in why, why
    try:
        selective_log_softmax(torch.zeros(2, 3), torch.zeros(2, dtype=torch.int64))
    except RuntimeError as error:
        assert why in str(error)
    else:
        raise AssertionError("a CPU tensor was accepted")
    os.environ["TRITON_INTERPRET"] = "1"
    ok, why = is_available("cpu")
    assert not ok and "before" in why, why


def check_compiles() -> None:
    """Both kernels compile to machine code for sm_80 and sm_90: Triton and its ptxas need no GPU for that.

    The interpreter accepts code that the compiler rejects, so this is the check of the language itself.
    """
    import triton
    from triton.backends.compiler import GPUTarget
    from triton.compiler import ASTSource
    from tunekit_kernels import selective_log_softmax as module

    for capability, dtype, minimal in itertools.product((80, 90), ("fp32", "bf16", "fp16"), (True, False)):
        tail = {"outer_stride": "i64", "inner_stride": "i32", "inner": "i32", "inv_temperature": "fp32"}
        inputs = {"logits_ptr": f"*{dtype}", "index_ptr": "*i64", "lse_ptr": "*fp32"}
        forward = {**inputs, "logp_ptr": "*fp32", "entropy_ptr": "*fp32"}
        backward = {**inputs, "grad_logp_ptr": "*fp32", "grad_logits_ptr": f"*{dtype}"}
        fixed: dict[str, Any] = {"BLOCK": module.MAX_BLOCK, "VOCAB": 151936}
        if minimal:  # Triton turns an integer argument of 1 into a constant
            fixed |= {"inner": 1, "inner_stride": 1, "VOCAB": 1, "BLOCK": 1}
        for kernel, head, constants in (
            (module._forward_kernel, forward, {**fixed, "WITH_ENTROPY": not minimal}),
            (module._backward_kernel, backward, fixed),
        ):
            signature = {**head, **tail, **dict.fromkeys(constants, "constexpr")}
            source = ASTSource(kernel, signature, constexprs=constants)
            target = GPUTarget("cuda", capability, 32)
            compiled = triton.compile(source, target=target, options={"num_warps": 8})
            assert len(compiled.asm["cubin"]) > 0
            if dtype == "bf16" and kernel is module._backward_kernel:
                assert "cvt.rn.bf16" in compiled.asm["ptx"]  # round to nearest
            assert "f64" not in compiled.asm["ptx"], "float64 arithmetic: a constant was promoted"


def check_cuda() -> None:
    """The compiled kernel against the oracle on CUDA: every case of the table, and a real vocabulary."""
    from tunekit_kernels import is_available
    from tunekit_kernels.selective_log_softmax import selective_log_softmax

    available, why = is_available("cuda")
    assert available and "compiled" in why, why
    wide = (((64, 151936), dtype, 0.9) for dtype in DTYPES)
    for seed, (shape, dtype, temperature) in enumerate((*CASES, *wide)):
        logits, index, grad_out = make_inputs(shape, dtype, seed)
        expected = oracle(logits, index, temperature, grad_out)
        actual = run(selective_log_softmax, logits.cuda(), index.cuda(), temperature, grad_out.cuda())
        assert_matches(actual, expected)


CHECKS = {f.__name__: f for f in (check_refuses_cpu, check_compiles, check_cuda)}

if __name__ == "__main__":
    CHECKS[sys.argv[1]]()
