"""Pairs of a tiny language: what is chosen counts on from the prompt, what is rejected does not."""

from __future__ import annotations

from typing import Any, NamedTuple

import torch
from tiny_room import Room, tiny

from tunekit.data.encoder import Encoded

PAIRED: dict[str, Any] = {"model": "model:m", "data": ["dataset:a"]}


class Row(NamedTuple):
    prompt: list[int]
    chosen: list[int]
    rejected: list[int]


def pairs(count: int, seed: int) -> list[Row]:
    generator = torch.Generator().manual_seed(seed)

    def number(low: int, high: int) -> int:
        return int(torch.randint(low, high, (), generator=generator))

    rows = []
    for _ in range(count):
        first, length = number(3, 40), number(3, 9)
        prompt = [60, *(3 + (first + i) % 40 for i in range(number(1, 4)))]
        chosen = [3 + (prompt[-1] - 3 + 1 + i) % 40 for i in range(length)]
        rows.append(Row(prompt, chosen, [number(3, 43) for _ in range(number(3, 9))]))
    return rows


def encoded(prompt: list[int], answer: list[int], verdicts: Any = ()) -> Encoded:
    return Encoded([*prompt, *answer], [False] * len(prompt) + [True] * len(answer), verdicts=verdicts)


def pair_tokens(room: Room, name: str, *items: list[Row]) -> str:
    """Token parts of datasets of pairs: two items each."""
    made = []
    for rows in items:
        made.append(("chosen", [[encoded(row.prompt, row.chosen) for row in rows]]))
        made.append(("rejected", [[encoded(row.prompt, row.rejected) for row in rows]]))
    return tiny.encoded_tokens(room.root / name, made)


def logps(model: Any, prompt: list[int], answer: list[int]) -> torch.Tensor:
    """Of every token but the first one, given those before it."""
    ids = torch.tensor([[*prompt, *answer]])
    return model(ids).logits[0, :-1].log_softmax(-1).gather(1, ids[0, 1:, None])[:, 0]
