"""The selective log-softmax kernel and its torch reference against float64, TRL and their own invariants.

The kernel runs here in Triton's interpreter on CPU tensors. Compiled code is checked in processes of its own.
"""

import os
import subprocess
import sys
from pathlib import Path
from typing import Any
from unittest import mock

if "triton" in sys.modules and os.environ.get("TRITON_INTERPRET") != "1":
    raise AssertionError(
        "triton was imported before TRITON_INTERPRET=1 was set, so its kernels cannot run on the CPU here. "
        "Set TRITON_INTERPRET=1 for the whole run, or run tests/kernels in a pytest process of its own."
    )
os.environ["TRITON_INTERPRET"] = "1"
sys.path.insert(0, str(Path(__file__).parent))  # for kernel_cases, which finds tunekit_kernels

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from kernel_cases import BAD_ARGUMENTS, CASES, DTYPES, VIEWS, assert_matches, make_inputs, oracle, run
from tunekit_kernels import is_available
from tunekit_kernels import selective_log_softmax as module
from tunekit_kernels.reference import selective_log_softmax_reference
from tunekit_kernels.selective_log_softmax import selective_log_softmax

pytestmark = pytest.mark.torch

BOTH = pytest.mark.parametrize(
    "fn", [selective_log_softmax, selective_log_softmax_reference], ids=["kernel", "reference"]
)
small_blocks = mock.patch.object(module, "MAX_BLOCK", 16)  # several blocks without a large vocabulary


def run_compiled(check: str, tmp_path: Path) -> None:
    """Run one check of kernel_cases.py without the interpreter, and with an empty compile cache."""
    env = {**os.environ, "TRITON_CACHE_DIR": str(tmp_path)}
    del env["TRITON_INTERPRET"]
    script = Path(__file__).with_name("kernel_cases.py")
    done = subprocess.run([sys.executable, str(script), check], env=env, capture_output=True, text=True)
    assert done.returncode == 0, done.stdout + done.stderr


@BOTH
@pytest.mark.parametrize(("shape", "dtype", "temperature"), CASES)
def test_matches_float64(fn: Any, shape: tuple[int, ...], dtype: torch.dtype, temperature: float) -> None:
    logits, index, grad_out = make_inputs(shape, dtype)
    expected = oracle(logits, index, temperature, grad_out)
    assert_matches(run(fn, logits, index, temperature, grad_out), expected)
    alone = fn(logits, index, temperature)
    torch.testing.assert_close(alone, expected.logp.float(), rtol=1e-6, atol=2e-5)


@pytest.mark.oracle
@pytest.mark.parametrize(("dtype", "tolerance"), [(torch.float32, 2e-5), (torch.bfloat16, 0.1)])
def test_matches_trl(dtype: torch.dtype, tolerance: float) -> None:
    """TRL computes bfloat16 in bfloat16 on the CPU, so 8 bits of a logp of about 10 nats: hence 0.1."""
    from trl.trainer.utils import selective_log_softmax as trl_selective_log_softmax

    logits, index, grad_out = make_inputs((2, 3, 129), dtype)
    mine = run(selective_log_softmax, logits, index, 0.7, grad_out)
    x = logits.clone().requires_grad_()
    theirs = trl_selective_log_softmax(x, index, temperature=0.7)
    (grad,) = torch.autograd.grad(theirs, x, grad_out.to(theirs.dtype))
    torch.testing.assert_close(mine.logp, theirs.float(), rtol=0, atol=tolerance)
    torch.testing.assert_close(mine.grad, grad, rtol=0, atol=tolerance)


@settings(max_examples=30, deadline=None)
@given(
    row=st.lists(st.integers(-1280, 1280), min_size=1, max_size=40),
    shift=st.integers(-1000, 1000),
    temperature=st.sampled_from([0.5, 1.0, 2.0]),
)
@small_blocks
def test_is_a_log_distribution(row: list[int], shift: int, temperature: float) -> None:
    """Over every index: logp <= 0, the probabilities sum to 1, and a shift of the row changes nothing.

    Logits of 1/64 steps, whole shifts and temperatures of powers of two are exact in float32: the shift must
    change no bit.
    """
    logits = (torch.tensor(row) / 64).expand(len(row), -1)
    index = torch.arange(len(row))
    logp, entropy = selective_log_softmax(logits, index, temperature, return_entropy=True)
    assert (logp <= 0).all()
    torch.testing.assert_close(logp.double().exp().sum().item(), 1.0, rtol=0, atol=2e-5)
    torch.testing.assert_close(entropy[0].double(), -(logp.double().exp() * logp).sum(), rtol=0, atol=1e-4)
    shifted = selective_log_softmax(logits + shift, index, temperature, return_entropy=True)
    assert torch.equal(logp, shifted[0]) and torch.equal(entropy, shifted[1])


@BOTH
@pytest.mark.parametrize("dtype", DTYPES)
@small_blocks
def test_masked_vocabulary(fn: Any, dtype: torch.dtype) -> None:
    """-inf over whole blocks at both ends, a chosen token that is masked, and a row with one token left."""
    logits, index, grad_out = make_inputs((4, 50), dtype)
    logits[:, :20] = logits[:, 40:] = -torch.inf
    index[:] = torch.tensor([25, 3, 39, 30])
    logits[3, :30] = logits[3, 31:] = -torch.inf
    expected = oracle(logits, index, 0.7, grad_out)
    assert expected.logp[1] == -torch.inf and expected.logp[3] == 0 and expected.entropy.isfinite().all()
    assert_matches(run(fn, logits, index, 0.7, grad_out), expected)


@BOTH
@pytest.mark.filterwarnings("ignore::RuntimeWarning:triton")  # numpy under the interpreter: log(0), 0 / 0
def test_row_without_any_token_is_nan_as_in_torch(fn: Any) -> None:
    logits, index, grad_out = make_inputs((2, 9), torch.float32)
    logits[0] = -torch.inf
    assert_matches(run(fn, logits, index, 1.0, grad_out), oracle(logits, index, 1.0, grad_out))


@pytest.mark.parametrize("view", VIEWS.values(), ids=VIEWS)
def test_non_contiguous(view: Any) -> None:
    base, _, _ = make_inputs((3, 5, 33), torch.float32)
    logits = view(base)
    _, index, grad_out = make_inputs(tuple(logits.shape), torch.float32)
    index, grad_out = (torch.stack([t, t], -1)[..., 0] for t in (index, grad_out))  # strided as well
    expected = oracle(logits, index, 0.7, grad_out)
    assert_matches(run(selective_log_softmax, logits, index, 0.7, grad_out), expected)


def test_keeps_no_tensor_of_logits_size() -> None:
    """Beside the logits themselves (no copy of GRPO's view), one index and one float32 per row."""
    base = torch.randn(3, 5, 33, requires_grad=True)
    logp = selective_log_softmax(base[:, :-1], torch.zeros(3, 4, dtype=torch.int64))
    logits, index, lse = logp.grad_fn.saved_tensors  # type: ignore[union-attr]
    assert logits.data_ptr() == module._as_rows(logits).data_ptr() == base.data_ptr()
    assert index.shape == lse.shape == (12,) and lse.dtype == torch.float32
    logp.sum().backward()  # an upstream gradient of stride 0
    assert base.grad is not None and base.grad[:, -1].eq(0).all() and base.grad[:, :-1].ne(0).all()


@BOTH
@pytest.mark.parametrize("shape", [(0, 7), (2, 0, 7)])
def test_empty(fn: Any, shape: tuple[int, ...]) -> None:
    result = run(fn, *make_inputs(shape, torch.bfloat16)[:2], 0.7, torch.zeros(shape[:-1]))
    assert result.logp.numel() == 0


def test_autograd_misuse_raises() -> None:
    logits, index, grad_out = make_inputs((2, 9), torch.float32)
    x = logits.requires_grad_()
    logp = selective_log_softmax(x, index).square()
    (grad,) = torch.autograd.grad(logp, x, grad_out, create_graph=True)
    with pytest.raises(RuntimeError, match="once_differentiable"):
        grad.sum().backward()
    logp = selective_log_softmax(x, index)
    with torch.no_grad():
        x.add_(1)
    with pytest.raises(RuntimeError, match="modified by an inplace operation"):
        logp.sum().backward()


@BOTH
@pytest.mark.parametrize(("arguments", "message"), BAD_ARGUMENTS.values(), ids=BAD_ARGUMENTS)
def test_errors(fn: Any, arguments: tuple[Any, ...], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        fn(*arguments)


def test_index_out_of_range_is_nan_today() -> None:
    assert selective_log_softmax(torch.zeros(2, 5), torch.tensor([-100, 5])).isnan().all()


def test_is_available() -> None:
    assert is_available("cpu") == is_available(torch.device("cpu"))
    assert is_available("cpu")[0] and "interpreted" in is_available("cpu")[1]
    assert is_available("mps") == (False, "the kernels are written for CUDA devices, not for 'mps'")
    with mock.patch("importlib.util.find_spec", return_value=None):
        ok, why = is_available("cpu")
    assert not ok and "not installed" in why


def test_package_import_is_lazy() -> None:
    code = "import sys, tunekit_kernels; print(sorted({'torch', 'triton', 'numpy'} & set(sys.modules)))"
    env = {**os.environ, "PYTHONPATH": str(Path(module.__file__).parents[1])}
    done = subprocess.run([sys.executable, "-c", code], env=env, capture_output=True, text=True)
    assert done.stdout == "[]\n", done.stderr


@pytest.mark.parametrize("check", ["check_refuses_cpu", "check_compiles"])
def test_without_interpreter(check: str, tmp_path: Path) -> None:
    run_compiled(check, tmp_path)


@pytest.mark.gpu
@pytest.mark.skipif(not torch.cuda.is_available(), reason=f"no GPU: {is_available('cuda')[1]}")
def test_on_cuda(tmp_path: Path) -> None:
    run_compiled("check_cuda", tmp_path)
