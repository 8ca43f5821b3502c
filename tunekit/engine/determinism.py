"""One place that makes torch repeat itself."""

from __future__ import annotations

import os

import torch


def make_deterministic(seed: int) -> str:
    """Seed torch and ask it for deterministic kernels; returns the determinism class for the record.

    On a CPU every operation has a deterministic kernel: the same machine, threads and libraries give the same
    bits. On CUDA some have none; torch then warns instead of failing, and figures are compared within bounds.
    """
    torch.manual_seed(seed)
    cuda = torch.cuda.is_available()
    if cuda:
        # cuBLAS reads this when its handle is created, so it must come before the first matrix product.
        os.environ.setdefault("CUBLAS_WORKSPACE_CONFIG", ":4096:8")
        torch.backends.cudnn.benchmark = False
    torch.use_deterministic_algorithms(True, warn_only=cuda)
    # Filling fresh memory only shows reads of what was never written; it took a quarter of a GRPO step.
    torch.utils.deterministic.fill_uninitialized_memory = False  # type: ignore[attr-defined]
    return "cuda-best-effort" if cuda else "cpu-bitwise"
