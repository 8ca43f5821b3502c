"""A run's declared optimizer → the object: its class, its parameter groups, what it got.

Transformers' Trainer makes its optimizer of a class, or of a factory that it calls with the model
(`optimizer_cls_and_kwargs`). Ours is such a factory for every name, so that groups are made in one place.
"""

from __future__ import annotations

import difflib
import inspect
import math
import re
from collections.abc import Iterable
from importlib import import_module
from typing import Any, NamedTuple

import torch

from tunekit.errors import ActionError
from tunekit.methods.optimizers import NEEDS, lacking
from tunekit.methods.spec import Run
from tunekit.protocol import Events
from tunekit.steps.adapter.spec import Adapter

# Of those that Transformers makes, it says class and arguments; these are ours: module and class.
_OURS = {
    "optimi_adamw": ("optimi", "AdamW"),
    "optimi_lion": ("optimi", "Lion"),
    "optimi_adan": ("optimi", "Adan"),
    "came": ("came_pytorch", "CAME"),
    "ao_adamw_fp8": ("torchao.optim", "AdamWFp8"),
    "flash_adamw": ("flashoptim", "FlashAdamW"),
    "flash_adam": ("flashoptim", "FlashAdam"),
    "flash_sgd": ("flashoptim", "FlashSGD"),
    "flash_sgdw": ("flashoptim", "FlashSGDW"),
    "flash_lion": ("flashoptim", "FlashLion"),
    "muon": ("tunekit.engine.muon", "MuonAdamW"),
}
_DECAY = 0.1  # of the steps, where `warmup_stable_decay` is not told


def check_optimizer(spec: Run) -> None:
    """Before anything is loaded. ActionError `optimizer-not-installed` or `optimizer-needs-gpu`."""
    if package := lacking(spec.optimizer):
        raise ActionError(
            f"optimizer = {spec.optimizer!r} needs the package {package}, which is not installed",
            slug="optimizer-not-installed",
            hint=f"pip install {package}",
        )
    if NEEDS[spec.optimizer].cuda and not torch.cuda.is_available():
        raise ActionError(
            f"optimizer = {spec.optimizer!r} runs on a GPU only, and there is none here",
            slug="optimizer-needs-gpu",
            hint='"adamw_torch" runs everywhere, "adamw_bnb_8bit" saves memory on a CPU, too',
        )


def plain_name(name: str) -> str:
    """A parameter's name as its model has it: without what PEFT puts around it."""
    name = name.removeprefix("base_model.model.")
    return re.sub(r"\.(modules_to_save|base_layer|original_module)(?=\.)|\.default(?=\.|$)", "", name)


class Group(NamedTuple):
    """Parameters with one learning rate and one decay. `said`: the regex, "loraplus", or "" for the run's own."""

    said: str
    learning_rate: float
    weight_decay: float
    names: list[str]
    params: list[torch.nn.Parameter]

    def asked(self) -> dict[str, Any]:
        return {"params": self.params, "lr": self.learning_rate, "weight_decay": self.weight_decay}

    def described(self) -> dict[str, Any]:
        """For the record."""
        said = {"of": self.said} if self.said else {}
        count = sum(p.numel() for p in self.params)
        return {
            **said,
            "learning_rate": self.learning_rate,
            "weight_decay": self.weight_decay,
            "tensors": len(self.params),
            "parameters": count,
        }


def groups_of(spec: Run, named: Iterable[tuple[str, torch.nn.Parameter]], decayed: set[str]) -> list[Group]:
    """The trained parameters in groups, those of the run's own learning rate first. `decayed`: names with decay.

    ActionError `learning-rates-no-match` where a regex of `learning_rates` matches no trained parameter, or
    `learning-rates-overlap` where two match one.
    """
    trained = [(name, p) for name, p in named if p.requires_grad]
    rates = {said: rate for said, rate in spec.learning_rates.items()}
    patterns = {said: _compiled(said) for said in rates}
    ratio = spec.adapter.loraplus_lr_ratio if isinstance(spec.adapter, Adapter) else None
    found: dict[tuple[str, bool], Group] = {}
    for said in ("", "loraplus", *rates):
        rate = rates.get(said, spec.learning_rate * (ratio or 1.0) if said == "loraplus" else spec.learning_rate)
        for decays in (True, False):
            found[said, decays] = Group(said, rate, spec.weight_decay if decays else 0.0, [], [])
    for name, parameter in trained:
        plain = plain_name(name)
        matched = [said for said, pattern in patterns.items() if pattern.fullmatch(plain)]
        if len(matched) > 1:
            message = f"learning_rates: `{matched[0]}` and `{matched[1]}` both match {plain}"
            raise ActionError(message, slug="learning-rates-overlap", hint="each parameter has one learning rate")
        # LoRA+ (Hayou et al. 2024, arXiv:2402.12354), as PEFT has it: B matrices and vectors.
        plus = ratio is not None and ("lora_B" in name or parameter.ndim == 1)
        group = found[matched[0] if matched else "loraplus" if plus else "", name in decayed]
        group.names.append(plain)
        group.params.append(parameter)
    for said in rates:
        if not found[said, True].names and not found[said, False].names:
            _no_match(said, [plain_name(name) for name, _ in trained])
    return [group for group in found.values() if group.params]


def _compiled(pattern: str) -> re.Pattern[str]:
    try:
        return re.compile(pattern)
    except re.error as e:
        message = f"learning_rates: `{pattern}` is not a regular expression: {e}"
        raise ActionError(message, slug="learning-rates-no-match") from e


def _no_match(said: str, names: list[str]) -> None:
    near = difflib.get_close_matches(said, names, n=2, cutoff=0.3) or names[:2]
    raise ActionError(
        f"learning_rates: `{said}` matches the whole name of no trained parameter",
        slug="learning-rates-no-match",
        hint=f"names look like `{'`, `'.join(near)}`; `.*q_proj.*` matches a part",
    )


class Maker:
    """What the Trainer calls with its model. It knows the number of steps by then, which some schedules need."""

    def __init__(self, spec: Run, trainer: Any, events: Events) -> None:
        self._spec = spec
        self._trainer = trainer
        self._events = events

    def __call__(self, model: Any) -> torch.optim.Optimizer:
        spec, trainer, steps = self._spec, self._trainer, self._trainer.state.max_steps
        if spec.lr_scheduler == "warmup_stable_decay":
            share = _DECAY if spec.decay_ratio is None else spec.decay_ratio
            trainer.args.lr_scheduler_kwargs["num_decay_steps"] = math.ceil(share * steps)
        groups = groups_of(spec, model.named_parameters(), set(trainer.get_decay_parameter_names(model)))
        cls, arguments = self._class(model, steps)
        _check_arguments(spec, cls)
        arguments |= {name: tuple(v) if isinstance(v, list) else v for name, v in spec.optimizer_args.items()}
        if issubclass(cls, _muon()):
            arguments["ends"] = ends_of(model)
        try:
            made: torch.optim.Optimizer = cls([group.asked() for group in groups], **arguments)
        except (TypeError, ValueError, RuntimeError, NotImplementedError) as e:
            raise ActionError(f"optimizer = {spec.optimizer!r} refuses: {e}", slug="optimizer-refused") from e
        if arguments.get("optim_bits") == 8:
            _embeddings_in_32_bits(model)
        self._events.effective(
            optimizer={
                "class": f"{cls.__module__}.{cls.__qualname__}",
                "arguments": {k: v for k, v in arguments.items() if k not in ("lr", "ends")},
                "groups": [group.described() for group in groups],
            },
            schedule={
                "name": spec.lr_scheduler,
                "steps": steps,
                "warmup_steps": trainer.args.get_warmup_steps(steps),
                **(trainer.args.lr_scheduler_kwargs or {}),
            },
        )
        return made

    def _class(self, model: Any, steps: int) -> tuple[type[torch.optim.Optimizer], dict[str, Any]]:
        """Class and arguments of the run's optimizer, as Transformers or we have them."""
        spec, args = self._spec, self._trainer.args
        if spec.optimizer not in _OURS:
            cls, arguments = self._trainer.get_optimizer_cls_and_kwargs(args, model)
            if "warmup_steps" in arguments:  # a share, to Transformers; a count, to the optimizer
                arguments["warmup_steps"] = args.get_warmup_steps(steps)
            if spec.optimizer == "stable_adamw" and not torch.cuda.is_available():
                arguments["triton"] = False  # it would ask triton for a device
            return cls, arguments
        module, name = _OURS[spec.optimizer]
        arguments = {"lr": spec.learning_rate}
        if NEEDS[spec.optimizer].betas:
            more = (0.9999,) if spec.optimizer == "came" else ()
            arguments["betas"] = (spec.adam_beta1, spec.adam_beta2, *more)
        return getattr(import_module(module), name), arguments


def _muon() -> type:
    from tunekit.engine.muon import MuonAdamW

    return MuonAdamW


def ends_of(model: Any) -> list[torch.nn.Parameter]:
    """The embedding and the head: matrices that Muon is not for."""
    layers = (model.get_input_embeddings(), model.get_output_embeddings())
    return [p for layer in layers if layer is not None for p in layer.parameters()]


def _check_arguments(spec: Run, cls: Any) -> None:
    """ActionError `unknown-optimizer-argument`, where the class would raise a TypeError or take it silently."""
    known = [name for name in inspect.signature(cls).parameters if name not in ("params", "lr", "ends")]
    for name in spec.optimizer_args:
        if name not in known:
            near = difflib.get_close_matches(name, known, n=1, cutoff=0.5)
            raise ActionError(
                f"optimizer_args: {spec.optimizer} has no argument `{name}`",
                slug="unknown-optimizer-argument",
                hint=f"did you mean `{near[0]}`?" if near else f"it has {', '.join(known)}",
            )


def _embeddings_in_32_bits(model: Any) -> None:
    """As Transformers has it: 8 bits are too few for gradients that are nearly all zero."""
    from bitsandbytes.optim import GlobalOptimManager

    manager = GlobalOptimManager.get_instance()
    for module in model.modules():
        if isinstance(module, torch.nn.Embedding):
            manager.register_module_override(module, "weight", {"optim_bits": 32})


def settle(spec: Run, trainer: Any) -> None:
    """Bring the model to the weights that count: a schedule-free optimizer trains others than the average it stands
    for."""
    if not NEEDS[spec.optimizer].scheduled and trainer.optimizer is not None:
        trainer.optimizer.eval()
