"""A Grpo spec as TRL's GRPOTrainer, with every setting that TRL holds checked against what was asked for."""

from __future__ import annotations

import math
import warnings
from collections.abc import Callable
from typing import Any

from datasets import Dataset
from trl import GRPOConfig, GRPOTrainer

from tunekit.engine.arguments import save_steps, training_arguments
from tunekit.engine.generation import Engine, stop_ids_of
from tunekit.engine.loading import Loaded
from tunekit.engine.prompts import Prompt
from tunekit.engine.resume import train_dir
from tunekit.engine.rewards import Rewards
from tunekit.errors import ActionError
from tunekit.methods.grpo.order import Order
from tunekit.methods.grpo.rollout import Rollout, sampling_of
from tunekit.methods.grpo.scoring import scored
from tunekit.methods.grpo.spec import Grpo
from tunekit.protocol import Request

# Settings that TRL calls as we do.
_SAME = (
    "num_generations",
    "max_completion_length",
    "temperature",
    "top_p",
    "top_k",
    "min_p",
    "repetition_penalty",
    "beta",
    "epsilon",
    "epsilon_high",
    "loss_type",
    "scale_rewards",
    "num_iterations",
    "mask_truncated_completions",
)


class CardlessTrainer(GRPOTrainer):
    """Without the README that TRL renders into every checkpoint; staging is nobody's reading matter."""

    def create_model_card(self, *args: Any, **kwargs: Any) -> None:
        return None


def make_trainer(
    spec: Grpo,
    loaded: Loaded,
    request: Request,
    prompts: list[Prompt],
    order: Order,
    rewards: Rewards,
    engine: Engine,
    trainer_class: Callable[..., CardlessTrainer] = CardlessTrainer,
) -> GRPOTrainer:
    """Raises ActionError `trainer-refused`, `setting-without-effect`, `sharded-generation`, and the arguments' own."""
    rows = Dataset.from_dict({"prompt": [p.text for p in prompts], "row": list(range(len(prompts)))})
    rollout = Rollout(engine, prompts, sampling_of(spec, stop_ids_of(loaded.base, loaded.tokenizer)))
    args = _arguments(spec, request, order)
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", message="You are using 'rollout_func'")
        try:
            trainer = trainer_class(
                model=loaded.model,
                reward_funcs=scored(spec.rewards, rewards, prompts),
                args=args,
                # Fingerprints are for a cache on disk that is not used.
                train_dataset=rows.select(order.prompts, new_fingerprint="order"),
                processing_class=loaded.tokenizer,
                rollout_func=rollout,
            )
        except ValueError as e:
            raise ActionError(f"TRL refuses these settings: {e}", slug="trainer-refused") from e
    _check(spec, loaded, order, trainer)
    return trainer


def grpo_settings(spec: Grpo, trainer: GRPOTrainer, reference: str) -> dict[str, Any]:
    """What TRL really uses, for the record."""
    args: Any = trainer.args
    return {
        "trl": {name: getattr(args, name) for name in _SAME}
        | {
            "generation_batch_size": args.generation_batch_size,
            "steps_per_generation": args.steps_per_generation,
            "importance_sampling_level": args.importance_sampling_level,
            "reward_weights": trainer.reward_weights.tolist(),
            "reward_names": list(trainer.reward_func_names),
            "max_steps": args.max_steps,
            "save_steps": args.save_steps,
            "stop_ids": list(trainer.eos_token_ids),
        },
        "generation": "embedded: Transformers, in the training process",
        "reference": reference,
    }


def _arguments(spec: Grpo, request: Request, order: Order) -> GRPOConfig:
    # After a resume TRL generates anew and counts from the first use of the completions: a checkpoint in the middle
    # of their `num_iterations` uses could not be continued bit by bit.
    whole = math.lcm(spec.logging_steps, spec.num_iterations)
    return training_arguments(
        GRPOConfig,
        spec,
        request,
        output_dir=str(train_dir(request.staging)),
        max_steps=order.steps,
        save_steps=-(-save_steps(spec) // whole) * whole,
        reward_weights=[r.weight for r in spec.rewards],
        shuffle_dataset=False,  # the order is ours
        log_completions=False,
        use_vllm=False,
        **{name: getattr(spec, name) for name in _SAME},
    )


def _check(spec: Grpo, loaded: Loaded, order: Order, trainer: GRPOTrainer) -> None:
    args = trainer.args
    if trainer.is_fsdp_enabled or trainer.is_deepspeed_enabled:
        raise ActionError(
            "embedded generation needs whole weights in every process",
            slug="sharded-generation",
            hint="run on one device, or data-parallel without FSDP and DeepSpeed",
        )
    wanted = {name: getattr(spec, name) for name in _SAME} | {
        "generation_batch_size": spec.batch_size,
        "max_steps": order.steps,
        "shuffle_dataset": False,
        "use_vllm": False,
    }
    found = {name: getattr(args, name) for name in wanted}
    wanted["stop_ids"] = sorted(stop_ids_of(loaded.base, loaded.tokenizer))
    found["stop_ids"] = sorted(trainer.eos_token_ids)
    for name, value in wanted.items():
        if found[name] != value:
            raise ActionError(
                f"{name}: {value} was asked for, {found[name]} is in effect", slug="setting-without-effect"
            )
