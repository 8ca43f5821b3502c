"""A run's declared settings → the TrainingArguments of Transformers that TRL's configs extend."""

from __future__ import annotations

import dataclasses
from typing import TYPE_CHECKING, Any, NamedTuple, TypeVar

import torch
from transformers.training_args import OptimizerNames

from tunekit.engine import trackers
from tunekit.engine.parallel import strategy_arguments, world_size
from tunekit.errors import ActionError
from tunekit.methods.spec import Run
from tunekit.protocol import Request

if TYPE_CHECKING:
    from transformers import TrainingArguments

Config = TypeVar("Config", bound="TrainingArguments")


class Batch(NamedTuple):
    """How one optimizer step's rows are cut: size = micro * accumulation * world, exactly."""

    size: int
    micro: int
    accumulation: int
    world: int


def batch_of(spec: Run) -> Batch:
    """ActionError `batch-remainder` if the rows of a step do not divide over devices and forward passes."""
    world = world_size()
    micro = spec.micro_batch_size or spec.batch_size // world
    if micro < 1 or spec.batch_size % (micro * world):
        raise ActionError(
            f"batch_size {spec.batch_size} is not a multiple of micro_batch_size {micro} x {world} devices",
            slug="batch-remainder",
            hint="accumulation = batch_size / (micro_batch_size x devices) must be whole",
        )
    return accumulated(spec, micro, world)


def accumulated(spec: Run, micro: int, world: int) -> Batch:
    """A step of a run in forward passes of `micro` rows on `world` devices."""
    return Batch(spec.batch_size, micro, spec.batch_size // (micro * world), world)


def batch_in(args: TrainingArguments) -> Batch:
    """What the arguments of a trainer come to."""
    micro, accumulation = args.per_device_train_batch_size, args.gradient_accumulation_steps
    return Batch(micro * accumulation * args.world_size, micro, accumulation, args.world_size)


def save_steps(spec: Run) -> int:
    """Checkpoints fall on logged steps, so that a resumed run's metrics history is that of a straight one."""
    return -(-spec.checkpoint_steps // spec.logging_steps) * spec.logging_steps


def training_arguments(cls: type[Config], spec: Run, request: Request, **more: Any) -> Config:
    """`cls` (SFTConfig, GRPOConfig, …) with the settings that all methods share; `more` adds or overrides.

    Raises ActionError: `batch-remainder`, `no-bf16`, `missing-package`.
    """
    cuda = torch.cuda.is_available()
    if spec.dtype == "bfloat16" and cuda and not torch.cuda.is_bf16_supported():
        raise ActionError("this GPU has no bfloat16", slug="no-bf16", hint='use dtype = "float32"')
    batch = batch_of(spec)
    settings: dict[str, Any] = {
        "output_dir": request.staging,
        "per_device_train_batch_size": batch.micro,
        "per_device_eval_batch_size": batch.micro,
        "gradient_accumulation_steps": batch.accumulation,
        "num_train_epochs": spec.epochs,
        "max_steps": spec.max_steps or -1,
        "bf16": spec.dtype == "bfloat16",
        "fp16": False,
        "use_cpu": not cuda,
    }
    settings |= trackers.prepare(spec, request)
    settings |= _optimizer(spec) | _reporting(spec) | _checkpointing(cls, spec) | _data(spec)
    return cls(**_joined(settings, strategy_arguments(spec), more))


def _joined(*settings: dict[str, Any]) -> dict[str, Any]:
    """The later ones win; what is said of accelerate's configuration adds up."""
    out: dict[str, Any] = {}
    for some in settings:
        accelerator = out.get("accelerator_config", {}) | some.get("accelerator_config", {})
        out |= some | ({"accelerator_config": accelerator} if accelerator else {})
    return out


def _optimizer(spec: Run) -> dict[str, Any]:
    return {
        # The optimizer itself is made by engine/optimizers.py; this is what Transformers asks about its like.
        "optim": spec.optimizer if spec.optimizer in {o.value for o in OptimizerNames} else "adamw_torch",
        "learning_rate": spec.learning_rate,
        "lr_scheduler_type": spec.lr_scheduler,
        # A share below 1; Transformers reads 1.0 as one step.
        "warmup_steps": spec.warmup_steps or min(spec.warmup_ratio, 1 - 1e-9),
        "lr_scheduler_kwargs": _schedule(spec),
        "weight_decay": spec.weight_decay,
        "adam_beta1": spec.adam_beta1,
        "adam_beta2": spec.adam_beta2,
        "max_grad_norm": spec.max_grad_norm,
    }


def _schedule(spec: Run) -> dict[str, Any]:
    """How a schedule ends. The steps that `warmup_stable_decay` decays over are known when training begins
    (`engine/optimizers.py`)."""
    if spec.lr_scheduler == "cosine_with_min_lr":
        return {"min_lr_rate": spec.min_lr_ratio}
    return {"min_lr_ratio": spec.min_lr_ratio} if spec.lr_scheduler == "warmup_stable_decay" else {}


def _reporting(spec: Run) -> dict[str, Any]:
    return {
        "logging_strategy": "steps",
        "logging_steps": spec.logging_steps,
        # The filter replaces a NaN by an average: a diverged run would look healthy.
        "logging_nan_inf_filter": False,
        "report_to": list(spec.report_to) or "none",
        "disable_tqdm": True,
        "push_to_hub": False,
    }


def _checkpointing(cls: type[Any], spec: Run) -> dict[str, Any]:
    known = {f.name for f in dataclasses.fields(cls)}
    # Renamed in Transformers 5; setting the old name there warns.
    name = "activation_checkpointing" if "activation_checkpointing" in known else "gradient_checkpointing"
    return {
        name: spec.gradient_checkpointing,
        "save_strategy": "steps",
        "save_steps": save_steps(spec),
        "save_total_limit": 2,
        "eval_strategy": "no",
    }


def _data(spec: Run) -> dict[str, Any]:
    return {
        "seed": spec.seed,
        "data_seed": spec.seed,
        "dataloader_num_workers": 0,
        "dataloader_drop_last": False,
        "dataloader_pin_memory": torch.cuda.is_available(),
    }
