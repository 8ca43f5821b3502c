"""Orders: permutations, and groups of about one length."""

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from tunekit.engine.shuffle import grouped_by_length, permutation


@given(st.integers(0, 300), st.integers(0, 2**31), st.integers(0, 100))
def test_every_number_once(count: int, seed: int, epoch: int) -> None:
    found = permutation(count, seed, epoch, "test")
    assert sorted(found.tolist()) == list(range(count))
    np.testing.assert_array_equal(found, permutation(count, seed, epoch, "test"))


def test_every_place_is_as_likely() -> None:
    """4,000 orders of 5: a place is taken 800 times by each number, give or take five standard deviations."""
    orders = np.array([permutation(5, seed, 0, "test") for seed in range(4000)])
    counts = np.array([np.bincount(orders[:, place], minlength=5) for place in range(5)])
    assert abs(counts - 800).max() < 5 * np.sqrt(4000 * 0.2 * 0.8)


def test_seed_epoch_and_purpose_make_another_order() -> None:
    one = permutation(1000, 1, 0, "a")
    for other in (permutation(1000, 0, 1, "a"), permutation(1000, 1, 1, "a"), permutation(1000, 1, 0, "b")):
        assert (one == other).mean() < 0.02


@given(st.lists(st.integers(1, 50), min_size=1, max_size=300), st.integers(1, 7))
def test_groups_have_all_rows(lengths: list[int], batch_size: int) -> None:
    order = grouped_by_length(np.array(lengths), batch_size, 3, 1)
    assert sorted(order.tolist()) == list(range(len(lengths)))


def test_a_batch_has_about_one_length() -> None:
    lengths = np.random.default_rng(0).integers(1, 1000, 4003)
    order = grouped_by_length(lengths, 8, 0, 0)
    batches = lengths[order[:4000]].reshape(-1, 8)
    assert (batches.max(1) - batches.min(1)).mean() < 40  # of shuffled rows it is 780
    # No trend: the batches are shuffled, so neighbours differ as much as any two.
    means = batches.mean(1)
    assert abs(np.corrcoef(means[:-1], means[1:])[0, 1]) < 0.15
    assert order.tolist() != grouped_by_length(lengths, 8, 0, 1).tolist()
