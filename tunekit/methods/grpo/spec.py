"""Group relative policy optimisation on rewards that a program can check."""

from __future__ import annotations

from typing import Annotated, Literal

from tunekit.derive import Scope, form_for
from tunekit.label import Label
from tunekit.methods.spec import Run, data_fields, items_of, policy, refuse_masking, run_action, start_of
from tunekit.spec import PositiveFloat, Share, operational, semantic
from tunekit.steps.rewards.spec import Reward, rewards_action

__all__ = ["Grpo", "derive", "policy"]


class Grpo(Run, frozen=True, kw_only=True):
    """GRPO (Shao et al. 2024, arXiv:2402.03300) by TRL's GRPOTrainer: sample a group of completions per prompt,
    advantage = reward minus the group's mean (over its deviation, if `scale_rewards`), clipped policy gradient.
    Not for tasks whose every completion in a group gets the same reward: there is no signal."""

    method: Annotated[Literal["grpo"], semantic("This method.")] = "grpo"
    rewards: Annotated[list[Reward], semantic("Reward functions with weights.", min_length=1)]
    batch_size: Annotated[int, semantic("Completions per optimizer step, over all devices.", ge=1)] = 32
    learning_rate: Annotated[float, semantic("Peak learning rate.", gt=0)] = 1e-6
    num_generations: Annotated[int, semantic("Completions per prompt (the group).", ge=2)] = 8
    max_completion_length: Annotated[int, semantic("Longest completion, in tokens.", ge=1)] = 256
    max_prompt_length: Annotated[int, semantic("Longest prompt, in tokens; a longer one is an error.", ge=1)] = 512
    temperature: Annotated[float, semantic("Sampling temperature.", gt=0)] = 1.0
    top_p: Annotated[float, semantic("Nucleus sampling.", gt=0, le=1)] = 1.0
    top_k: Annotated[int, semantic("Sample among the k most likely; 0: all.", ge=0)] = 0
    min_p: Annotated[Share | None, semantic("Drop tokens below this share of the likeliest.")] = None
    repetition_penalty: Annotated[float, semantic("1: none.", gt=0)] = 1.0
    beta: Annotated[float, semantic("Weight of the KL to the reference (the policy at the start); 0: none.", ge=0)] = (
        0.0
    )
    epsilon: Annotated[float, semantic("Clipping of the ratio.", gt=0)] = 0.2
    epsilon_high: Annotated[PositiveFloat | None, semantic("Upper clipping; default: epsilon.")] = None
    loss_type: Annotated[Literal["grpo", "bnpo", "dr_grpo", "dapo"], semantic("How token losses are averaged.")] = (
        "dapo"
    )
    scale_rewards: Annotated[Literal["group", "batch", "none"], semantic("Divide advantages by a deviation.")] = "group"
    num_iterations: Annotated[int, semantic("Optimizer passes over a batch of completions.", ge=1)] = 1
    mask_truncated_completions: Annotated[bool, semantic("Completions cut at the limit do not count.")] = False
    generation: Annotated[
        Literal["embedded"], semantic("Engine: `embedded` runs in the training process, no server.")
    ] = "embedded"
    reward_timeout: Annotated[float, operational("Seconds one call of a reward may take.", gt=0)] = 30.0
    keep: Annotated[Literal["last"], semantic("Which weights `run:x` names.")] = "last"

    def checks(self) -> list[tuple[str, str, str]]:
        out = super().checks()
        if self.processes > 1:
            out.append(("processes", "grpo trains in one process so far", "leave `processes` out"))
        if self.batch_size % self.num_generations:
            out.append(
                (
                    "num_generations",
                    f"batch_size {self.batch_size} is not a multiple of num_generations {self.num_generations}",
                    "every prompt's group must be whole in a batch",
                )
            )
        return out


def derive(label: Label, spec: Grpo, scope: Scope) -> None:
    items = items_of(spec)
    refuse_masking(items, scope)
    inputs, adapter, _ = start_of(label, spec, scope)
    inputs["data"] = [scope.dataset(i.dataset, "data") for i in items]
    for item in items:
        form_for("generation", scope, item.dataset, "data")
    code = list(dict.fromkeys(scope.code(r.fn, "rewards") for r in spec.rewards))
    check = scope.add(rewards_action(label, spec.rewards, spec.reward_timeout, inputs["data"], code))
    scope.add(
        run_action(label, spec, inputs, adapter, fields={"data": data_fields(items)}, code=code, after=[check.action])
    )
