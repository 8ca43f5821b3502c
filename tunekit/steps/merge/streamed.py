"""A forward pass of a model whose weights are on a disk: each layer's are read when it runs, and let go after it."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import torch
from torch import nn

from tunekit.engine import weights
from tunekit.engine.weights import Slot
from tunekit.steps.merge.skeleton import META, plain

_SEQUENCES, _LENGTH = 3, 16
_ROWS = 1 << 21  # elements of an embedding that are in memory at once
Read = Callable[[str], torch.Tensor]


def token_ids(vocabulary: int) -> torch.Tensor:
    """[3, 16] fixed random tokens."""
    return torch.randint(vocabulary, (_SEQUENCES, _LENGTH), generator=torch.Generator().manual_seed(0))


class Streamed:
    """`model`: of PEFT, its base's parameters on the meta device. `adapted` False: without the adapter, for weights
    that have what it does. A layer of a ModuleList is read as a whole: it may use its parts' weights itself."""

    def __init__(self, model: Any, adapted: bool = True) -> None:
        self._model = model
        self._adapted = adapted
        self._device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
        self._read: Read = lambda name: torch.empty(0)
        if self._device.type != "cpu":
            _to_device(model, self._device)

    @torch.no_grad()
    def logits(self, ids_BT: torch.Tensor, read: Read, slot: Callable[[str], Slot | None]) -> torch.Tensor:
        """[B, T, vocabulary] in float32. `read` says what a tensor of the model is, by name; `slot` where it lies, if
        it is just as in a file: of embeddings, which are large, only the rows that are needed are then in memory."""
        self._read = read
        hooks: list[Any] = []
        by_rows: list[Any] = []
        try:
            for name, unit, deep in self._units("", self._model):
                found = slot(plain(f"{name}.weight")) if not deep else None
                if found and _takes_rows(unit):
                    vars(unit)["forward"] = self._by_rows(unit, found)
                    by_rows.append(unit)
                    continue
                hooks.append(unit.register_forward_pre_hook(self._loader(name, deep), prepend=True))
                hooks.append(unit.register_forward_hook(_unloader(deep), always_call=True))
            with _as_told(self._model, self._adapted):
                found = self._model(input_ids=ids_BT.to(self._device), use_cache=False).logits
        finally:
            for hook in hooks:
                hook.remove()
            for unit in by_rows:
                del vars(unit)["forward"]
        return found.float().cpu()

    def _loader(self, path: str, deep: bool) -> Callable[..., None]:
        def load(unit: nn.Module, _: Any) -> None:
            for holder, name, full in self._asked(unit, path, deep):
                value = self._read(plain(full)).to(self._device, torch.float32)
                holder._streamed = {**getattr(holder, "_streamed", {}), name: holder._parameters[name]}
                holder._parameters[name] = nn.Parameter(value, requires_grad=False)

        return load

    def _by_rows(self, unit: nn.Module, slot: Slot) -> Callable[[torch.Tensor], torch.Tensor]:
        def rows(first: int, count: int) -> torch.Tensor:
            return weights.read_rows(slot, first, count).to(self._device, torch.float32)

        def embed(ids_BT: torch.Tensor) -> torch.Tensor:
            known, where = ids_BT.unique(return_inverse=True)
            return torch.cat([rows(i, 1) for i in known.tolist()])[where]

        def project(x_BTD: torch.Tensor) -> torch.Tensor:
            step = max(1, _ROWS // slot.shape[1])
            pieces = [(first, min(step, slot.shape[0] - first)) for first in range(0, slot.shape[0], step)]
            return torch.cat([nn.functional.linear(x_BTD, rows(*piece)) for piece in pieces], -1)

        return embed if isinstance(unit, nn.Embedding) else project

    def _units(self, name: str, module: nn.Module) -> Iterator[tuple[str, nn.Module, bool]]:
        """Modules that are read for: name, module, and whether with all that is below it."""
        from peft.tuners.tuners_utils import BaseTunerLayer
        from peft.utils.other import AuxiliaryTrainingWrapper

        if isinstance(module, (BaseTunerLayer, AuxiliaryTrainingWrapper)):
            yield name, module, True
            return
        if self._asked(module, name, False):
            yield name, module, False
        for child, below in module.named_children():
            path = f"{name}.{child}" if name else child
            if isinstance(module, nn.ModuleList):
                yield path, below, True
            else:
                yield from self._units(path, below)

    def _asked(self, unit: nn.Module, path: str, deep: bool) -> list[tuple[Any, str, str]]:
        """Parameters that are read: holder, name in it, full name."""
        below = unit.named_modules(prefix=path) if deep else [(path, unit)]
        return [
            (holder, name, f"{place}.{name}")
            for place, holder in below
            for name, parameter in holder._parameters.items()
            if parameter is not None and self._is_asked(f"{place}.{name}", parameter)
        ]

    def _is_asked(self, name: str, parameter: torch.Tensor) -> bool:
        if self._adapted:
            return parameter.device == META and ".original_module." not in name
        return ".lora_" not in name and ".modules_to_save." not in name


def _takes_rows(unit: nn.Module) -> bool:
    """Exactly the two, and without a setting that would make rows something else."""
    if type(unit) is nn.Embedding:
        return unit.max_norm is None
    return type(unit) is nn.Linear and unit.bias is None


def _unloader(deep: bool) -> Callable[..., None]:
    def unload(unit: nn.Module, *_: Any) -> None:
        for holder in unit.modules() if deep else (unit,):
            kept: Any = holder.__dict__.pop("_streamed", {})
            holder._parameters.update(kept)

    return unload


@contextmanager
def _as_told(model: Any, adapted: bool) -> Iterator[None]:
    """With the adapter, or without."""
    from peft.tuners.tuners_utils import BaseTunerLayer
    from peft.utils.other import AuxiliaryTrainingWrapper

    off: list[Any] = (
        []
        if adapted
        else [module for module in model.modules() if isinstance(module, (BaseTunerLayer, AuxiliaryTrainingWrapper))]
    )
    for layer in off:
        layer._disable_adapters = True
    try:
        yield
    finally:
        for layer in off:
            layer._disable_adapters = False


def _to_device(model: nn.Module, device: torch.device) -> None:
    for holder in model.modules():
        for table in (holder._parameters, holder._buffers):
            for tensor in table.values():
                if tensor is not None and tensor.device != META:
                    tensor.data = tensor.data.to(device)
