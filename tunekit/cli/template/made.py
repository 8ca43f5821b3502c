"""Rows that are made, in place of your own: tunekit runs a function of this file once, and again when it changes."""

import random
from collections.abc import Iterator

NOTES = {"tea": "steep it for four minutes", "bread": "let it rise for an hour", "rice": "rinse it until it is clear"}


def pairs(n: int, seed: int = 0) -> Iterator[dict]:
    """Two answers to one question, the better one first."""
    rng = random.Random(seed)
    for _ in range(n):
        what, other = rng.sample(sorted(NOTES), 2)
        yield {"prompt": f"How do I make {what}? ", "chosen": NOTES[what], "rejected": NOTES[other]}


def verdicts(n: int, seed: int = 0) -> Iterator[dict]:
    """One answer, and whether it was wanted."""
    for i, row in enumerate(pairs(n, seed)):
        yield {"prompt": row["prompt"], "completion": row["chosen" if i % 2 else "rejected"], "label": bool(i % 2)}


def steps(n: int, seed: int = 0) -> Iterator[dict]:
    """A solution step by step, and whether each step is right."""
    rng = random.Random(seed)
    for _ in range(n):
        a, b, wrong = rng.randint(1, 9), rng.randint(1, 9), rng.randint(0, 1)
        said = [f"First {a} plus {b} is {a + b + wrong}.", f"So the answer is {a + b}."]
        yield {"prompt": f"{a} + {b} = ?", "completions": said, "labels": [not wrong, True]}


def prompts(n: int, seed: int = 0) -> Iterator[dict]:
    """Questions whose answers `brief` scores."""
    rng = random.Random(seed)
    for _ in range(n):
        yield {"prompt": f"How do I make {rng.choice(sorted(NOTES))}? "}


def brief(completions: list, **columns: list) -> list[float]:
    """A reward between 0 and 1 for each completion: the share of its first 20 characters that are letters."""
    return [sum(c.isalpha() for c in text_of(one)[:20]) / 20 for one in completions]


def text_of(completion: str | list[dict]) -> str:
    return completion if isinstance(completion, str) else completion[0]["content"]
