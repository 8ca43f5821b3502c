"""Order of prompts and names of rewards: no torch."""

from __future__ import annotations

from collections import Counter
from typing import Any

import msgspec
import pytest

from tunekit.methods.grpo.order import order_of
from tunekit.methods.grpo.scoring import names_of
from tunekit.methods.grpo.spec import Grpo
from tunekit.steps.rewards.spec import Reward


def grpo(**more: Any) -> Grpo:
    base = {"model": "model:m", "data": ["dataset:d"], "rewards": [{"fn": "r.py:f"}], "batch_size": 8}
    return msgspec.convert(base | {"num_generations": 4} | more, Grpo)


@pytest.mark.parametrize(
    ("more", "rows", "steps", "prompts"),
    [
        ({"epochs": 2.0}, 7, 7, 14),  # two epochs of 7 prompts, two a step: nothing falls off the end of an epoch
        ({"epochs": 1.0}, 7, 4, 8),  # the last step is filled up
        ({"epochs": 0.5}, 8, 2, 4),
        ({"epochs": 0.01}, 8, 1, 2),
        ({"max_steps": 5}, 3, 5, 10),
        ({"max_steps": 5, "num_iterations": 2}, 3, 5, 6),
        ({"epochs": 1.0, "num_iterations": 3}, 4, 6, 4),
    ],
)
def test_steps(more: dict[str, Any], rows: int, steps: int, prompts: int) -> None:
    order = order_of(grpo(**more), rows)
    assert (order.steps, len(order.prompts), order.prompts_per_step) == (steps, prompts, 2)


def test_every_epoch_is_another_permutation_and_a_longer_run_begins_the_same() -> None:
    order = order_of(grpo(epochs=3.0), 10).prompts
    epochs = [order[i : i + 10] for i in (0, 10, 20)]
    assert all(Counter(e) == Counter(range(10)) for e in epochs)
    assert len({tuple(e) for e in epochs}) == 3
    assert order_of(grpo(epochs=5.0), 10).prompts[:30] == order
    assert order_of(grpo(epochs=3.0, seed=1), 10).prompts != order


def test_names_of_rewards_are_unique() -> None:
    fns = ["a.py:score", "b.py:score", "a.py:length", "c.py:style", "c.py:style"]
    assert names_of([Reward(fn=f) for f in fns]) == ["a.score", "b.score", "length", "style-1", "style-2"]
