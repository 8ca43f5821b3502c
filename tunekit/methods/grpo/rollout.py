"""Completions for TRL's trainer from a generation engine, through its `rollout_func`."""

from __future__ import annotations

import hashlib
from typing import Any

from tunekit.engine.generation import Engine, Sampling
from tunekit.engine.prompts import Prompt
from tunekit.methods.grpo.spec import Grpo


class Rollout:
    """`rollout_func` of TRL's GRPOTrainer: prompts (one per completion) in, token ids out.

    The seed of every call is made of the run's seed, the step and the process, so that completions do not depend
    on what else drew random numbers, nor on where a run was resumed. TRL names the function experimental; the
    version is pinned and the tests run the real trainer.
    """

    def __init__(self, engine: Engine, prompts: list[Prompt], sampling: Sampling) -> None:
        self._engine = engine
        self._ids = {prompt.text: prompt.ids for prompt in prompts}
        self._sampling = sampling

    def __call__(self, texts: list[str], trainer: Any) -> dict[str, Any]:
        """As many completions as `texts`: TRL's sampler has repeated each prompt `num_generations` times."""
        ids = [self._ids[text] for text in texts]
        step, process = trainer.state.global_step, trainer.accelerator.process_index
        sampling = self._sampling._replace(seed=_seed(self._sampling.seed, step, process))
        completions = [only for (only,) in self._engine.generate(ids, sampling)]
        return {
            "prompt_ids": ids,
            "completion_ids": [c.token_ids for c in completions],
            "logprobs": [c.logprobs for c in completions],
        }


def sampling_of(spec: Grpo, stop_ids: tuple[int, ...]) -> Sampling:
    return Sampling(
        max_tokens=spec.max_completion_length,
        stop_ids=stop_ids,
        temperature=spec.temperature,
        top_p=spec.top_p,
        top_k=spec.top_k,
        min_p=spec.min_p or 0.0,
        repetition_penalty=spec.repetition_penalty,
        seed=spec.seed,
    )


def _seed(seed: int, step: int, process: int) -> int:
    digest = hashlib.sha256(f"tunekit/grpo/rollout/{seed}/{step}/{process}".encode()).digest()
    return int.from_bytes(digest[:7], "big")
