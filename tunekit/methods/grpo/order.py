"""Which prompt comes when: all steps' prompts in one list, made before training.

TRL's own sampler draws a permutation for each epoch from a generator whose state no checkpoint carries: a run
resumed in its second epoch would see the first one's order again. A fixed list read front to back has no state,
and no rows fall off the end of an epoch.
"""

from __future__ import annotations

import random
from typing import NamedTuple

from tunekit.methods.grpo.spec import Grpo


class Order(NamedTuple):
    """`prompts[i]` is the number of the i-th prompt; `steps` optimizer steps use them all."""

    prompts: list[int]
    steps: int
    prompts_per_step: int


def order_of(spec: Grpo, rows: int) -> Order:
    """Epochs are permutations of all rows, one after the other, cut into steps of `prompts_per_step` prompts.

    A step of the last epoch that `rows` do not fill goes on into a further permutation: every step is whole.
    """
    per_step = spec.batch_size // spec.num_generations
    # Completions are used `num_iterations` times; an optimizer step that reuses some needs no prompts.
    batches = -(-int(rows * spec.epochs) // per_step) or 1
    if spec.max_steps:
        batches = -(-spec.max_steps // spec.num_iterations)
    wanted = batches * per_step
    prompts: list[int] = []
    epoch = 0
    while len(prompts) < wanted:
        prompts += _permutation(rows, spec.seed, epoch)
        epoch += 1
    return Order(prompts[:wanted], spec.max_steps or batches * spec.num_iterations, per_step)


def _permutation(rows: int, seed: int, epoch: int) -> list[int]:
    numbers = list(range(rows))
    random.Random(f"tunekit/grpo/order/{seed}/{epoch}").shuffle(numbers)
    return numbers
