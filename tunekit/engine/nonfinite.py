"""Where a number stopped being one: in the weights, in a module of the forward pass, or on the way back."""

from __future__ import annotations

import math
from collections.abc import Iterator
from functools import partial
from typing import Any

import torch


class LastForward:
    """What the model was last called with while gradients were on."""

    def __init__(self, model: Any) -> None:
        self.call: tuple[tuple[Any, ...], dict[str, Any]] | None = None
        model.register_forward_pre_hook(self._keep, with_kwargs=True)

    def _keep(self, module: Any, args: tuple[Any, ...], kwargs: dict[str, Any]) -> None:
        if torch.is_grad_enabled():
            self.call = args, kwargs


class Gradients:
    """The largest entry of every gradient of a step, as it comes out of the backward pass: clipping, which is before
    any callback, spreads one NaN over all of them. One number a tensor stays on its device until it is asked for."""

    def __init__(self, model: Any) -> None:
        self._largest: dict[str, torch.Tensor] = {}
        self._trained = [(name, p) for name, p in model.named_parameters() if p.requires_grad]
        for name, parameter in self._trained:
            parameter.register_post_accumulate_grad_hook(partial(self._take, name))

    def __len__(self) -> int:
        return len(self._trained)

    def broken(self) -> list[str]:
        """Of the step: weights whose gradient is not finite, in the order of the backward pass. The next one begins."""
        names, values = list(self._largest), list(self._largest.values())
        self._largest = {}
        if not values:
            return []
        fine = torch.isfinite(torch.stack([v.to(values[0].device) for v in values])).tolist()
        return [name for name, one in zip(names, fine, strict=True) if not one]

    def _take(self, name: str, parameter: torch.Tensor) -> None:
        if parameter.grad is not None:
            self._largest[name] = torch.linalg.vector_norm(parameter.grad.detach(), math.inf).float()


def where_it_began(model: Any, bad: list[str], trained: int, last: LastForward) -> str:
    """In words. `bad`: of the `trained` weights those without a finite gradient, as the backward pass came by them. The
    weights are those of the step whose gradients are not finite: the optimizer has not seen these."""
    broken = [name for name, p in model.named_parameters() if not _finite(p)]
    if broken:
        return f"the weights are not finite, first `{broken[0]}` ({len(broken)} of them), since an earlier step or load"
    said = f"the gradient is not finite in {len(bad)} of {trained} weights"
    module = first_module(model, last)
    if module:
        return f"{said}: the forward pass overflows first in `{module}`{_largest(model)}"
    if module == "":
        return f"{said}: the forward pass is finite, the backward pass goes wrong first at `{bad[0]}`{_largest(model)}"
    return f"{said}, on the way back first at `{bad[0]}`{_largest(model)}"


def first_module(model: Any, last: LastForward) -> str | None:
    """The module whose output is the first that is not finite, in a repeat of the last forward pass; "" if all are.
    None if that cannot be repeated."""
    if last.call is None:
        return None
    found: list[str] = []
    hooks = []
    for name, module in model.named_modules():
        if name:
            hooks.append(module.register_forward_hook(_looker(name, found)))
    args, kwargs = last.call
    try:
        with torch.no_grad():
            model(*args, **kwargs)
    except RuntimeError:
        return found[0] if found else None
    finally:
        for hook in hooks:
            hook.remove()
    return found[0] if found else ""


def _looker(name: str, found: list[str]) -> Any:
    def look(module: Any, args: Any, output: Any) -> None:
        if not found and not all(_finite(tensor) for tensor in _tensors(output)):
            found.append(name)

    return look


def _tensors(value: Any) -> Iterator[torch.Tensor]:
    if isinstance(value, torch.Tensor):
        yield value
    elif isinstance(value, (list, tuple)):
        for item in value:
            yield from _tensors(item)
    elif isinstance(value, dict):
        yield from _tensors(list(value.values()))


def _finite(tensor: torch.Tensor) -> bool:
    return not tensor.is_floating_point() or bool(torch.isfinite(tensor).all())


def _largest(model: Any) -> str:
    """The largest weight, where it is so large that it tells something."""
    sizes = {n: float(p.detach().abs().max()) for n, p in model.named_parameters() if p.requires_grad and p.numel()}
    name = max(sizes, key=lambda n: sizes[n], default="")
    return f" (the largest weight is {sizes[name]:.3g}, in `{name}`)" if name and sizes[name] > 1000 else ""
