"""One training over several processes: how it is asked for, and the proof that it formed.

`ddp`: every process holds the model, gradients are averaged (torch's DistributedDataParallel). `zero1`: besides, the
optimizer's state is split between them (DeepSpeed, ZeRO stage 1; Rajbhandari et al. 2020, arXiv:1910.02054).
"""

from __future__ import annotations

import os
from typing import Any

import torch
import torch.distributed as dist
from transformers import TrainerCallback, TrainerControl, TrainerState, TrainingArguments

from tunekit.errors import ActionError
from tunekit.methods.spec import Run
from tunekit.protocol import Events

_ZERO1 = {
    "zero_optimization": {"stage": 1},
    "train_micro_batch_size_per_gpu": "auto",
    "gradient_accumulation_steps": "auto",
    "gradient_clipping": "auto",
    "bf16": {"enabled": "auto"},
}


def world_size() -> int:
    """Processes of this action, as the launcher says."""
    return int(os.environ.get("WORLD_SIZE", "1"))


def rank() -> int:
    """Which of them this is."""
    return int(os.environ.get("RANK", "0"))


def is_main() -> bool:
    """Whether this process writes what the action makes."""
    return rank() == 0


def barrier() -> None:
    """Wait until every process is here."""
    if dist.is_initialized():
        dist.barrier()


def from_main(value: Any) -> Any:
    """What the main process has, in all of them (the others' argument is not looked at)."""
    if not dist.is_initialized():
        return value
    box = [value]
    dist.broadcast_object_list(box, src=0)
    return box[0]


def strategy_arguments(spec: Run) -> dict[str, Any]:
    """What the trainer's arguments need for it. Raises ActionError `world-not-formed`, `no-deepspeed`."""
    if world_size() != spec.processes:
        raise ActionError(
            f"{spec.processes} processes were asked for, {world_size()} are there", slug="world-not-formed"
        )
    if spec.strategy == "ddp":
        return {"ddp_find_unused_parameters": False} if spec.processes > 1 else {}
    return {"deepspeed": _ZERO1, **({} if torch.cuda.is_available() else _deepspeed_on_cpu())}


def _deepspeed_on_cpu() -> dict[str, Any]:
    """Transformers' `use_cpu` drops a `deepspeed` silently, and without it no process group forms on a machine that
    has no device: so the state that it documents as `use_configured_state` is made first, for DeepSpeed over gloo."""
    from accelerate import PartialState

    os.environ["ACCELERATE_USE_DEEPSPEED"] = "true"
    try:
        PartialState(backend="gloo")
    finally:
        del os.environ["ACCELERATE_USE_DEEPSPEED"]
    return {"use_cpu": False, "accelerator_config": {"use_configured_state": True}}


def formed(trainer: Any) -> str:
    """The strategy that the wrapped model and its optimizer show; "none": it is not wrapped."""
    from torch.nn.parallel import DistributedDataParallel

    model = trainer.model_wrapped
    if isinstance(model, DistributedDataParallel):
        return "ddp"
    stage = getattr(model, "zero_optimization_stage", None)
    return f"zero{stage()}" if stage else "none"


class StrategyCheck(TrainerCallback):
    """Before the first step: what was asked for is what there is. Raises ActionError `strategy-not-formed`."""

    def __init__(self, trainer: Any, spec: Run, events: Events) -> None:
        self._trainer, self._spec, self._events = trainer, spec, events

    def on_train_begin(
        self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **kwargs: Any
    ) -> None:
        wanted = self._spec.strategy if self._spec.processes > 1 else "none"
        found, size = formed(self._trainer), dist.get_world_size() if dist.is_initialized() else 1
        if (found, size) != (wanted, self._spec.processes):
            raise ActionError(
                f"{wanted} over {self._spec.processes} processes was asked for; {found} over {size} is what formed",
                slug="strategy-not-formed",
            )
        if size > 1:
            self._events.effective(parallel={"strategy": found, "processes": size, "backend": dist.get_backend()})
