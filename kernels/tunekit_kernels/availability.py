"""Whether the Triton kernels can run on a device, and if not, why not.

The kernels never fall back to torch on their own: a caller asks here first, and says which path it took.
"""

import importlib.util
import os
import sys
from typing import TYPE_CHECKING, Union

if TYPE_CHECKING:
    import torch

# Triton's README names compute capability 8.0 as the oldest NVIDIA GPU it supports.
_MIN_CUDA_CAPABILITY = (8, 0)


def is_available(device: Union["torch.device", str]) -> tuple[bool, str]:
    """Can the kernels of this package run on tensors of ``device``?

    Args:
        device: a ``torch.device`` or its name (``"cuda:0"``, ``"cpu"``).

    Returns:
        ``(ok, why)``. If ``ok``, ``why`` says how they run: compiled, or in Triton's interpreter (slow, for
        tests). If not, ``why`` is one sentence to show to the user.

    Raises:
        RuntimeError: ``device`` is no device name that torch knows.

    Triton reads ``TRITON_INTERPRET`` when it is imported and when a kernel is defined. Setting it afterwards
    changes nothing that works, so that case is reported instead of trusted.
    """
    if importlib.util.find_spec("triton") is None:
        return False, f"triton is not installed (its wheels are for Linux; this is {sys.platform})"
    import torch

    wanted = torch.device(device)
    interpreted, mixed = _interpreter_state()
    if mixed:
        return False, (
            "triton was imported before TRITON_INTERPRET was set, or the variable changed since: "
            "set it in the environment before the program starts"
        )
    if wanted.type == "cpu":
        if interpreted:
            return True, "interpreted on the CPU by TRITON_INTERPRET: slow, for tests"
        return False, (
            "compiled Triton kernels need a CUDA device, and these tensors are on the CPU "
            "(TRITON_INTERPRET=1, set before the program starts, runs them slowly in the interpreter)"
        )
    if wanted.type != "cuda":
        return False, f"the kernels are written for CUDA devices, not for {wanted.type!r}"
    if not torch.cuda.is_available():
        return False, "torch sees no CUDA device"
    if wanted.index is not None and wanted.index >= torch.cuda.device_count():
        return False, f"there is no {wanted}: torch sees {torch.cuda.device_count()} CUDA device(s)"
    if torch.version.hip is None and torch.cuda.get_device_capability(wanted) < _MIN_CUDA_CAPABILITY:
        have = ".".join(map(str, torch.cuda.get_device_capability(wanted)))
        return False, f"Triton needs compute capability 8.0 or newer, and {wanted} has {have}"
    if interpreted:
        return True, f"interpreted by TRITON_INTERPRET, with copies to and from {wanted}: slow, for tests"
    return True, f"compiled for {wanted}"


def _interpreter_state() -> tuple[bool, bool]:
    """``(interpreted, mixed)``: how Triton's own library was loaded, and whether the variable now disagrees.

    Triton's reductions (``tl.max``) are kernels themselves, fixed when triton is imported. A kernel of ours
    defined later follows the variable as it is then, and one kind cannot call the other.
    """
    import triton.language as tl
    from triton.runtime.jit import JITFunction

    interpreted = not isinstance(tl.max, JITFunction)
    now = os.environ.get("TRITON_INTERPRET", "0").lower() in ("1", "true", "on", "yes", "y")
    return interpreted, interpreted != now
