"""How the learning rate goes: the checks of a run's settings that decide it. Torch-free."""

from __future__ import annotations

from typing import Any, Literal, Protocol

from tunekit.methods.optimizers import NEEDS, Optimizer

Scheduler = Literal["linear", "cosine", "cosine_with_min_lr", "constant", "constant_with_warmup", "warmup_stable_decay"]
MIN_LR = ("cosine_with_min_lr", "warmup_stable_decay")  # that end at a share of the peak
Faults = list[tuple[str, str, str]]


class Settings(Protocol):
    """What of a run is looked at here."""

    @property
    def optimizer(self) -> Optimizer: ...
    @property
    def optimizer_args(self) -> dict[str, Any]: ...
    @property
    def lr_scheduler(self) -> Scheduler: ...
    @property
    def warmup_ratio(self) -> float: ...
    @property
    def warmup_steps(self) -> int: ...
    @property
    def min_lr_ratio(self) -> float: ...
    @property
    def decay_ratio(self) -> float | None: ...


def faults(run: Settings) -> Faults:
    """What of a run's optimizer, warm-up and schedule does not go together, as `(key, message, hint)`."""
    return _warmup(run) + _shape(run) + _optimizer(run)


def _warmup(run: Settings) -> Faults:
    out = []
    if run.warmup_ratio and run.warmup_steps:
        out.append(("warmup_steps", "`warmup_ratio` and `warmup_steps` both say how long it warms up", "take one"))
    if run.lr_scheduler == "constant" and NEEDS[run.optimizer].scheduled:
        said = "warmup_ratio" if run.warmup_ratio else "warmup_steps" if run.warmup_steps else ""
        if said:
            message = f'`lr_scheduler = "constant"` has no warm-up, but {said} is set'
            out.append((said, message, f'use lr_scheduler = "constant_with_warmup", or leave {said} out'))
    return out


def _shape(run: Settings) -> Faults:
    out = []
    if run.min_lr_ratio and run.lr_scheduler not in MIN_LR:
        message = f'`min_lr_ratio` has no meaning with lr_scheduler = "{run.lr_scheduler}"'
        out.append(("min_lr_ratio", message, "leave it out, or take " + " or ".join(f'"{name}"' for name in MIN_LR)))
    if run.decay_ratio is not None and run.lr_scheduler != "warmup_stable_decay":
        message = f'`decay_ratio` has no meaning with lr_scheduler = "{run.lr_scheduler}"'
        out.append(("decay_ratio", message, 'leave it out, or take "warmup_stable_decay"'))
    if run.warmup_ratio + (run.decay_ratio or 0.0) > 1:
        out.append(("decay_ratio", "`warmup_ratio` and `decay_ratio` are more than all steps", "together at most 1"))
    return out


def _optimizer(run: Settings) -> Faults:
    needs, out = NEEDS[run.optimizer], []
    if not needs.betas:
        for name, default in (("adam_beta1", 0.9), ("adam_beta2", 0.999)):
            if getattr(run, name) != default:
                out.append((name, f"optimizer = {run.optimizer!r} does not read `{name}`", "leave it out"))
    if not needs.scheduled:
        if run.lr_scheduler != "constant":
            message = f"optimizer = {run.optimizer!r} has no schedule, but lr_scheduler is {run.lr_scheduler!r}"
            out.append(("lr_scheduler", message, 'say lr_scheduler = "constant"; it warms itself up over warmup_steps'))
        if run.optimizer == "schedule_free_radam" and (run.warmup_ratio or run.warmup_steps):
            message = "schedule_free_radam warms up by its own rule"
            out.append(("warmup_steps" if run.warmup_steps else "warmup_ratio", message, "leave it out"))
    taken = sorted({"lr", "params", "betas", "weight_decay"} & run.optimizer_args.keys())
    if taken:
        message = f"`{taken[0]}` is no extra argument of an optimizer: it has a setting of its own"
        out.append(("optimizer_args", message, "learning_rate, weight_decay, adam_beta1 and adam_beta2"))
    return out
