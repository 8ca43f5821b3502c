"""Packing against the rule said plainly, against TRL's, and what must hold of every epoch."""

import time
from collections import Counter

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from tunekit.engine.packing import Packing
from tunekit.engine.shuffle import permutation

LENGTHS = st.integers(1, 40).flatmap(
    lambda capacity: st.tuples(st.just(capacity), st.lists(st.integers(1, capacity), min_size=1, max_size=120))
)


def best_fit_decreasing(lengths: list[int], capacity: int) -> list[int]:
    """Room left in each sequence, by looking at all of them for every document."""
    room: list[int] = []
    for length in sorted(lengths, reverse=True):
        fitting = [i for i, left in enumerate(room) if left >= length]
        if fitting:
            room[min(fitting, key=lambda i: room[i])] -= length
        else:
            room.append(capacity - length)
    return sorted(room)


@given(LENGTHS, st.integers(0, 5))
def test_the_rule_every_document_once(case: tuple[int, list[int]], epoch: int) -> None:
    capacity, lengths = case
    packing = Packing(np.array(lengths), capacity)
    sequences = list(packing.epoch(7, epoch))
    assert sorted(np.concatenate(sequences).tolist()) == list(range(len(lengths)))
    room = sorted(capacity - sum(lengths[i] for i in sequence) for sequence in sequences)
    assert room == best_fit_decreasing(lengths, capacity)
    assert len(packing) == len(sequences)
    assert packing.fill == pytest.approx(sum(lengths) / (len(sequences) * capacity))


@given(LENGTHS)
def test_an_epoch_is_a_function_of_lengths_seed_and_epoch(case: tuple[int, list[int]]) -> None:
    capacity, lengths = case
    made = [Packing(np.array(lengths), capacity) for _ in range(2)]
    epochs = [[s.tolist() for s in p.epoch(3, 1)] for p in made]
    assert epochs[0] == epochs[1]
    # Which lengths come together is the same in every epoch.
    shapes = [Counter(tuple(sorted(lengths[i] for i in s)) for s in made[0].epoch(3, e)) for e in (0, 1, 2)]
    assert shapes[0] == shapes[1] == shapes[2]


def test_epochs_and_seeds_differ_in_order_and_company() -> None:
    lengths = np.random.default_rng(0).integers(1, 65, 2000)
    packing = Packing(lengths, 64)
    epochs = [[tuple(sorted(s.tolist())) for s in packing.epoch(seed, e)] for seed, e in ((0, 0), (0, 1), (1, 0))]
    for one, other in ((0, 1), (0, 2), (1, 2)):
        shared = set(epochs[one]) & set(epochs[other])
        # Those of 64 tokens are alone in every epoch; of the rest few have the same company again.
        assert sum(len(s) > 1 for s in shared) < len(packing) / 20
        assert [len(s) for s in epochs[one]] != [len(s) for s in epochs[other]]


def test_no_document_and_documents_that_do_not_fit() -> None:
    empty = Packing(np.zeros(0, np.int64), 8)
    assert len(empty) == 0 and list(empty.epoch(0, 0)) == [] and empty.fill == 0
    for bad in ([0, 3], [9, 3]):
        with pytest.raises(ValueError, match="do not fit 1 to 8"):
            Packing(np.array(bad), 8)


@pytest.mark.parametrize("capacity", [100, 4096, 2**16, 2**17])
def test_capacities_of_every_size(capacity: int) -> None:
    lengths = np.random.default_rng(1).integers(1, capacity + 1, 500)
    room = sorted(capacity - lengths[s].sum() for s in Packing(lengths, capacity).epoch(0, 0))
    assert room == best_fit_decreasing(lengths.tolist(), capacity)


def test_a_million_lengths() -> None:
    """The bound is the issue's: 2 s on one core, 99.5 % full; it takes a tenth of that."""
    lengths = np.clip(np.random.default_rng(2).lognormal(5.5, 0.9, 1_000_000), 1, 2048).astype(np.int64)
    start = time.process_time()
    packing = Packing(lengths, 2048)
    count = sum(len(s) for s in packing.epoch(0, 0))
    assert time.process_time() - start < 2
    assert count == 1_000_000 and packing.fill > 0.995


@pytest.mark.oracle
@pytest.mark.torch
@pytest.mark.parametrize(("seed", "capacity"), [(0, 64), (1, 500), (2, 4096)])
def test_as_full_as_trl(seed: int, capacity: int) -> None:
    import pyarrow as pa
    from trl.data_utils import _pack_bfd

    lengths = np.clip(np.random.default_rng(seed).lognormal(np.log(capacity) - 2, 1, 3000), 1, capacity).astype(int)
    offsets = np.concatenate([[0], np.cumsum(lengths)])
    column = pa.ListArray.from_arrays(pa.array(offsets, pa.int32()), pa.array(np.zeros(offsets[-1], np.int32)))
    theirs = _pack_bfd(pa.table({"input_ids": column}), capacity)["seq_lengths"].to_pylist()
    ours = [lengths[s].tolist() for s in Packing(lengths, capacity).epoch(0, 0)]
    assert sorted(map(sum, ours)) == sorted(map(sum, theirs))


def test_the_order_is_pinned() -> None:
    """Bytes of packed runs hang on it."""
    assert permutation(8, 42, 0, "packing/documents").tolist() == [1, 4, 2, 7, 5, 0, 3, 6]
    packing = Packing(np.array([5, 3, 2, 2, 4, 1, 1, 6]), 8)
    assert [s.tolist() for s in packing.epoch(42, 0)] == [[4, 3, 5, 6], [7, 2], [0, 1]]
