"""Orders that a seed and an epoch decide, the same under every version of numpy and torch, and with no state that a
checkpoint would have to carry."""

from __future__ import annotations

import hashlib

import numpy as np

# Step batches that are sorted by length together: enough for equal lengths, few enough to stay a shuffle.
_MEGA = 50


def permutation(count: int, seed: int, epoch: int, purpose: str) -> np.ndarray:
    """0 … count-1 in the order of a hash (splitmix64) of each number; `purpose` tells one use from another."""
    start = hashlib.sha256(f"tunekit/{purpose}/{seed}/{epoch}".encode()).digest()[:8]
    with np.errstate(over="ignore"):  # arithmetic modulo 2**64 is the point
        z = np.arange(count, dtype=np.uint64) * np.uint64(0x9E3779B97F4A7C15) + np.uint64(int.from_bytes(start, "big"))
        z = (z ^ (z >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
        z = (z ^ (z >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
    # A bijection of 64 bits: no two keys are equal, so the order is one.
    return np.argsort(z ^ (z >> np.uint64(31)))


def grouped_by_length(lengths: np.ndarray, batch_size: int, seed: int, epoch: int) -> np.ndarray:
    """All numbers once, so that every `batch_size` in a row have about the same length.

    Shuffled rows are sorted by length within windows of 50 batches, and the batches are then shuffled. The rows
    that fill no batch come last, where the step is short in any order.
    """
    order = permutation(len(lengths), seed, epoch, "grouped")
    window = _MEGA * batch_size
    ranks = np.arange(len(order)) // window
    order = order[np.lexsort((-lengths[order], ranks))]
    whole = len(order) - len(order) % batch_size
    batches = order[:whole].reshape(-1, batch_size)
    return np.concatenate([batches[permutation(len(batches), seed, epoch, "batches")].ravel(), order[whole:]])
