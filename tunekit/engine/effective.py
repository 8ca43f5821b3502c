"""What really took effect: recorded with every result, and compared before a staging state is continued."""

from __future__ import annotations

import re
from collections import Counter
from importlib.metadata import version
from typing import Any

import torch

from tunekit.engine.arguments import Batch, batch_of
from tunekit.engine.loading import Loaded
from tunekit.errors import ActionError
from tunekit.methods.spec import Run
from tunekit.spec import NUMERIC, by_class, fields_of

LIBRARIES = ("torch", "transformers", "trl", "peft", "accelerate", "datasets", "safetensors", "tokenizers")


def library_versions() -> dict[str, str]:
    """Public versions of the training stack (`+cpu` is the device's business)."""
    return {name: version(name).partition("+")[0] for name in LIBRARIES}


def device_names() -> list[str]:
    if torch.cuda.is_available():
        return [torch.cuda.get_device_name(i) for i in range(torch.cuda.device_count())]
    return ["cpu"]


def numeric_settings(spec: Run, loaded: Loaded) -> dict[str, Any]:
    """What changes bits without changing meaning: a staging state is continued only under equal ones."""
    batch = batch_of(spec)
    # Those of the method as declared; of the fields that all methods share, what they came to.
    return {
        **{name: value for name, value in by_class(spec)[NUMERIC].items() if name not in fields_of(Run)},
        "attn": loaded.attn,
        "devices": device_names(),
        "gradient_checkpointing": spec.gradient_checkpointing,
        "libraries": library_versions(),
        "micro_batch_size": batch.micro,
        "strategy": spec.strategy if spec.processes > 1 else "none",
        "threads": torch.get_num_threads(),
        "world_size": batch.world,
    }


def effective_settings(spec: Run, loaded: Loaded, determinism: str) -> dict[str, Any]:
    """The record of a training run's settings, from the objects that hold them."""
    return {
        **numeric_settings(spec, loaded),
        "adapter": loaded.has_adapter,
        **({"quantization": loaded.quantization.summary()} if loaded.quantization else {}),
        "batch": batch_of(spec)._asdict(),
        "determinism": determinism,
        "dtype": dtypes_of(loaded.model),
        "trainable": trainable(loaded.model),
    }


def dtypes_of(model: Any) -> dict[str, str]:
    """Of the frozen and of the trained weights (PEFT keeps an adapter in float32 on a bfloat16 base)."""
    found: dict[str, set[str]] = {"frozen": set(), "trained": set()}
    for parameter in model.parameters():
        found["trained" if parameter.requires_grad else "frozen"].add(str(parameter.dtype).removeprefix("torch."))
    return {kind: ", ".join(sorted(names)) for kind, names in found.items() if names}


def trainable(model: Any) -> dict[str, Any]:
    """Count of trained and of all parameters, and the trained names with layer numbers as `*`."""
    names: Counter[str] = Counter()
    count = total = 0
    for name, parameter in model.named_parameters():
        # bitsandbytes packs two 4-bit weights into a byte
        number = parameter.numel() * (2 if type(parameter).__name__ == "Params4bit" else 1)
        total += number
        if parameter.requires_grad:
            count += number
            names[re.sub(r"\.\d+\.", ".*.", name)] += 1
    return {"parameters": count, "of": total, "names": dict(sorted(names.items()))}


def check_took_effect(spec: Run, loaded: Loaded, args: Any) -> None:
    """ActionError `setting-without-effect` if the trainer's arguments are not what the spec says."""
    batch: Batch = batch_of(spec)
    wanted = {
        "per_device_train_batch_size": batch.micro,
        "gradient_accumulation_steps": batch.accumulation,
        "learning_rate": spec.learning_rate,
        "max_grad_norm": spec.max_grad_norm,
        "gradient_checkpointing": spec.gradient_checkpointing,
        "world_size": batch.world,
        "bf16": spec.dtype == "bfloat16",
    }
    actual = {
        "per_device_train_batch_size": args.per_device_train_batch_size,
        "gradient_accumulation_steps": args.gradient_accumulation_steps,
        "learning_rate": args.learning_rate,
        "max_grad_norm": args.max_grad_norm,
        "gradient_checkpointing": args.gradient_checkpointing,
        "world_size": args.world_size,
        "bf16": args.bf16,
    }
    for name, value in wanted.items():
        if actual[name] != value:
            raise ActionError(
                f"{name}: {value} was asked for, {actual[name]} is in effect", slug="setting-without-effect"
            )
    if args.n_gpu > 1:
        raise ActionError(
            f"{args.n_gpu} GPUs are visible to one process",
            slug="setting-without-effect",
            hint="grant one GPU, or start the action by a launcher",
        )
    if not any(p.requires_grad for p in loaded.model.parameters()):
        raise ActionError("no parameter is trainable", slug="nothing-to-train")
