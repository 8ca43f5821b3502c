"""The student's own completions in place of the rows' (on-policy distillation)."""

from __future__ import annotations

import hashlib
import random
from typing import Any

import numpy as np

from tunekit.engine.generation import Embedded, Sampling, stop_ids_of
from tunekit.errors import ActionError
from tunekit.methods.distill.spec import Distill
from tunekit.methods.sft.batches import Collator


class OwnCompletions:
    """Which steps are on-policy, and their batches.

    TRL draws for each forward pass, and divides by the labels of the rows that it then replaces. Here a step is
    on-policy as a whole (as in the paper), by its number and the run's seed alone, and its own labels are counted.
    """

    def __init__(self, spec: Distill, model: Any, tokenizer: Any, collate: Collator) -> None:
        self._spec = spec
        self._collate = collate
        self._engine = Embedded(model, tokenizer)
        self._stop_ids = stop_ids_of(model, tokenizer)

    def wanted(self, step: int) -> bool:
        """Whether the step after so many is on-policy."""
        draw = random.Random(f"tunekit/distill/{self._spec.seed}/{step}").random()
        return draw < self._spec.lmbda

    def replaced(self, batch: dict[str, Any], step: int, process: int, part: int) -> dict[str, Any]:
        """A batch of the same prompts, with completions of ours that are all label. `part`: the how-manieth of the
        step's batches. Raises ActionError `no-prompt`, `context-too-long`."""
        prompts = [
            _prompt(*row) for row in zip(batch["input_ids"], batch["labels"], batch["attention_mask"], strict=True)
        ]
        sampling = Sampling(
            max_tokens=self._spec.max_completion_length or 0,
            stop_ids=self._stop_ids,
            temperature=self._spec.temperature,
            seed=_seed(self._spec.seed, step, process, part),
        )
        completions = [only.token_ids for (only,) in self._engine.generate(prompts, sampling)]
        return self._collate([_example(*pair) for pair in zip(prompts, completions, strict=True)])


def _prompt(ids_T: Any, labels_T: Any, mask_T: Any) -> list[int]:
    """A padded row's tokens before its first label."""
    ids, labels = ids_T[mask_T.bool()].tolist(), labels_T[mask_T.bool()].tolist()
    end = next((i for i, label in enumerate(labels) if label != -100), len(labels))
    if end == 0:
        raise ActionError(
            "a row begins with a label, so it has no prompt to complete",
            slug="no-prompt",
            hint="lmbda > 0 needs conversations, or segments whose first is not trained; else set lmbda = 0",
        )
    prompt: list[int] = ids[:end]
    return prompt


def _example(prompt: list[int], completion: list[int]) -> dict[str, Any]:
    ids = np.array(prompt + completion, np.int64)
    labels = np.where(np.arange(len(ids)) < len(prompt), np.int64(-100), ids)
    return {"input_ids": ids, "labels": labels, "seq_lengths": [len(ids)]}


def _seed(seed: int, step: int, process: int, part: int) -> int:
    digest = hashlib.sha256(f"tunekit/distill/own/{seed}/{step}/{process}/{part}".encode()).digest()
    return int.from_bytes(digest[:7], "big")
