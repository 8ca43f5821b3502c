"""How many parameters a run trains: the arithmetic of LoRA over the shapes of a base."""

from __future__ import annotations

import math
import re
from collections.abc import Mapping
from typing import Any

Tensors = Mapping[str, tuple[int, ...]]
_EMBEDDINGS = ("embed_tokens", "wte", "wpe", "embed_in", "word_embeddings", "embeddings")
_HEADS = ("lm_head", "embed_out", "score", "classifier")


def trained(tensors: Tensors, spec: Mapping[str, Any]) -> int:
    """Of a run's spec (JSON values): its new adapter, or its full weights as far as they are trained."""
    adapter = spec.get("adapter")
    if isinstance(adapter, dict):
        return of_adapter(tensors, adapter)
    chosen = spec.get("train_parameters")
    if chosen is None:
        return sum(map(math.prod, tensors.values()))
    return sum(math.prod(s) for name, s in tensors.items() if any(re.fullmatch(p, name) for p in chosen))


def of_adapter(tensors: Tensors, adapter: Mapping[str, Any]) -> int:
    """A and B of every module that is adapted: rank x (in + out), and what is trained in full beside them."""
    modules = {name: s for name, s in _modules(tensors).items() if is_target(name, adapter)}
    count = 0
    for name, (rows, columns) in modules.items():
        count += rank_of(name, adapter) * (rows + columns)
        count += rows if adapter.get("use_dora") else 0
    for name, shape in tensors.items():
        if len(shape) == 3 and any(_ends(name, p) for p in adapter.get("target_parameters", [])):
            count += rank_of(name, adapter) * shape[0] * (shape[1] + shape[2])
    return count + _biases(tensors, modules, adapter.get("bias", "none")) + _saved(tensors, adapter)


def is_target(module: str, adapter: Mapping[str, Any]) -> bool:
    """Whether PEFT adapts a module of two dimensions."""
    wanted = adapter.get("target_modules", "all-linear")
    leaf = module.rpartition(".")[2]
    if wanted == "all-linear":
        return leaf not in _EMBEDDINGS and leaf not in _HEADS
    if isinstance(wanted, str):
        return re.fullmatch(wanted, module) is not None
    layers = adapter.get("layers_to_transform", [])
    if layers and not any(f".{n}." in f".{module}." for n in layers):
        return False
    return any(_ends(module, name) for name in wanted)


def rank_of(module: str, adapter: Mapping[str, Any]) -> int:
    for pattern, rank in adapter.get("rank_pattern", {}).items():
        if re.match(rf"(.*\.)?({pattern})$", module):
            return int(rank)
    return int(adapter.get("r", 16))


def _modules(tensors: Tensors) -> dict[str, tuple[int, int]]:
    found = {}
    for name, shape in tensors.items():
        if name.endswith(".weight") and len(shape) == 2:
            found[name.removesuffix(".weight")] = (shape[0], shape[1])
    return found


def _biases(tensors: Tensors, modules: Mapping[str, Any], which: str) -> int:
    if which == "none":
        return 0
    biases = {name.removesuffix(".bias"): s for name, s in tensors.items() if name.endswith(".bias")}
    return sum(math.prod(s) for name, s in biases.items() if which == "all" or name in modules)


def _saved(tensors: Tensors, adapter: Mapping[str, Any]) -> int:
    """Modules that are trained in full; a head that is tied to the embeddings is a copy of them then."""
    count = 0
    for wanted in adapter.get("modules_to_save", []):
        own = [s for name, s in tensors.items() if _ends(name.rpartition(".")[0], wanted)]
        if not own and wanted in _HEADS:
            own = [s for name, s in tensors.items() if name.rpartition(".")[0].rpartition(".")[2] in _EMBEDDINGS][:1]
        count += sum(map(math.prod, own))
    return count


def _ends(name: str, wanted: str) -> bool:
    return name == wanted or name.endswith("." + wanted)
