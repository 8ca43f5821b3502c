"""Muon for the matrices inside a model, AdamW for its ends and its vectors, as one optimizer."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable
from typing import Any

import torch
from torch.optim import AdamW, Muon, Optimizer


class MuonAdamW(Optimizer):
    """torch.optim.Muon (Jordan et al. 2024) orthogonalises the momentum of matrices; it is not for embeddings, heads,
    or vectors (`ends`, and all that is not 2D): AdamW takes those. `adjust_lr_fn = "match_rms_adamw"` (Liu et al. 2025,
    arXiv:2502.16982) makes one learning rate right for both.

    The two share state and groups with this one, so that schedules and checkpoints see one optimizer.
    """

    def __init__(
        self,
        params: Any,
        lr: float = 1e-3,
        betas: tuple[float, float] = (0.9, 0.999),
        eps: float = 1e-8,
        momentum: float = 0.95,
        nesterov: bool = True,
        ns_steps: int = 5,
        ends: list[torch.nn.Parameter] | None = None,
    ) -> None:
        ends_by_id = {id(p) for p in ends or []}
        matrices, rest = [], []
        for group in params:
            inside = [p for p in group["params"] if p.ndim == 2 and id(p) not in ends_by_id]
            other = [p for p in group["params"] if p.ndim != 2 or id(p) in ends_by_id]
            matrices += [{**group, "params": inside}] if inside else []
            rest += [{**group, "params": other}] if other else []
        self._parts: list[Optimizer] = []
        if matrices:
            settings = {"momentum": momentum, "nesterov": nesterov, "ns_steps": ns_steps}
            self._parts.append(Muon(matrices, lr=lr, adjust_lr_fn="match_rms_adamw", **settings))  # type: ignore[arg-type]
        if rest:
            self._parts.append(AdamW(rest, lr=lr, betas=betas, eps=eps))
        super().__init__([g for part in self._parts for g in part.param_groups], {"lr": lr})
        self._share()

    def _share(self) -> None:
        """Make the parts work on this one's groups and state."""
        first = 0
        for part in self._parts:
            part.param_groups = self.param_groups[first : first + len(part.param_groups)]
            first += len(part.param_groups)
            part.state = self.state

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        super().load_state_dict(state_dict)
        self.state = defaultdict(dict, self.state)
        self._share()

    @torch.no_grad()
    def step(self, closure: Callable[[], float] | None = None) -> float | None:  # type: ignore[override]
        loss = None
        if closure is not None:
            with torch.enable_grad():
                loss = closure()
        for part in self._parts:
            part.step()
        return loss
