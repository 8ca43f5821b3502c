"""Optimizers by name: which package has them, and what of a run's settings they read. Torch-free: declarations are
checked against this table, and `engine/optimizers.py` makes what it names."""

from __future__ import annotations

from importlib.metadata import PackageNotFoundError, version
from typing import Literal, NamedTuple

Optimizer = Literal[
    "adamw_torch", "adamw_torch_fused", "sgd", "adagrad", "rmsprop", "muon", "adafactor",
    "adamw_bnb_8bit", "lion_32bit", "lion_8bit", "ademamix", "ademamix_8bit", "rmsprop_bnb_8bit",
    "paged_adamw_32bit", "paged_adamw_8bit", "paged_lion_32bit", "paged_lion_8bit",
    "schedule_free_adamw", "schedule_free_sgd", "schedule_free_radam",
    "stable_adamw", "optimi_adamw", "optimi_lion", "optimi_adan",
    "came", "adamw_torch_8bit", "adamw_torch_4bit", "ao_adamw_fp8",
    "flash_adamw", "flash_adam", "flash_sgd", "flash_sgdw", "flash_lion",
]  # fmt: skip


class Needs(NamedTuple):
    """`package`: the distribution beside torch and Transformers ("": none). `betas`: whether it reads `adam_beta1` and
    `adam_beta2`. `cuda`: its package runs it on a GPU only. `scheduled`: whether a learning-rate schedule is put on
    it; those that are not do without one, and warm themselves up over `warmup_steps`."""

    package: str = ""
    betas: bool = True
    cuda: bool = False
    scheduled: bool = True


_BNB, _FREE, _OPTIMI, _AO, _FLASH = "bitsandbytes", "schedulefree", "torch-optimi", "torchao", "flashoptim"
NEEDS: dict[str, Needs] = {
    "adamw_torch": Needs(),
    "adamw_torch_fused": Needs(),
    "sgd": Needs(betas=False),
    "adagrad": Needs(betas=False),
    "rmsprop": Needs(betas=False),
    "muon": Needs(),  # of the AdamW beside it
    "adafactor": Needs(betas=False),
    "adamw_bnb_8bit": Needs(_BNB),
    "lion_32bit": Needs(_BNB),
    "lion_8bit": Needs(_BNB),
    "ademamix": Needs(_BNB),
    "ademamix_8bit": Needs(_BNB),
    "rmsprop_bnb_8bit": Needs(_BNB, betas=False),
    "paged_adamw_32bit": Needs(_BNB, cuda=True),
    "paged_adamw_8bit": Needs(_BNB, cuda=True),
    "paged_lion_32bit": Needs(_BNB, cuda=True),
    "paged_lion_8bit": Needs(_BNB, cuda=True),
    "schedule_free_adamw": Needs(_FREE, scheduled=False),
    "schedule_free_sgd": Needs(_FREE, betas=False, scheduled=False),
    "schedule_free_radam": Needs(_FREE, scheduled=False),
    "stable_adamw": Needs(_OPTIMI),
    "optimi_adamw": Needs(_OPTIMI),
    "optimi_lion": Needs(_OPTIMI),
    "optimi_adan": Needs(_OPTIMI, betas=False),
    "came": Needs("came-pytorch"),
    "adamw_torch_8bit": Needs(_AO),
    "adamw_torch_4bit": Needs(_AO),
    "ao_adamw_fp8": Needs(_AO),
    "flash_adamw": Needs(_FLASH, cuda=True),
    "flash_adam": Needs(_FLASH, cuda=True),
    "flash_sgd": Needs(_FLASH, betas=False, cuda=True),
    "flash_sgdw": Needs(_FLASH, betas=False, cuda=True),
    "flash_lion": Needs(_FLASH, cuda=True),
}


def lacking(optimizer: str) -> str:
    """The distribution that an optimizer needs and this environment does not have; "" if nothing is missing."""
    package = NEEDS[optimizer].package
    try:
        return "" if not package or version(package) else package
    except PackageNotFoundError:
        return package
