"""Liger's fused linear cross-entropy in place of head and loss: logits are never there as a whole.

The kernel is called on what the model's decoder gives and on the head's weights. A model that does more than that to
its logits (scales or caps them) would get another loss: so it is measured before the first step, against the model's.
"""

from __future__ import annotations

import os
from importlib.metadata import PackageNotFoundError, version
from typing import Any

import torch
from torch.nn.functional import cross_entropy

from tunekit.engine.loading import Loaded
from tunekit.errors import ActionError
from tunekit.protocol import Events

SLUG = "kernel-not-applied"
_LABELS = "fused_loss_labels"
_BOUND = {"float32": 1e-3, "bfloat16": 2e-2}  # of the relative difference; the fused one rounds elsewhere


def check_liger() -> None:
    """ActionError `kernel-not-applied` where Liger is not installed or cannot run."""
    try:
        version("liger-kernel")
    except PackageNotFoundError as e:
        message = 'loss_kernel = "liger" needs the package liger-kernel, which is not installed'
        raise ActionError(message, slug=SLUG, hint="pip install 'tunekit[kernels]'") from e
    if not torch.cuda.is_available() and os.environ.get("TRITON_INTERPRET") != "1":
        raise ActionError(
            'loss_kernel = "liger" needs a GPU',
            slug=SLUG,
            hint='loss_kernel = "default" runs everywhere (TRITON_INTERPRET=1 runs it slowly on a CPU, for tests)',
        )


class FusedLoss:
    """The kernel on one model. `calls`: how often it was the loss of a forward pass."""

    def __init__(self, loaded: Loaded) -> None:
        from liger_kernel.transformers import LigerFusedLinearCrossEntropyLoss

        self.calls = 0
        self._kernel = LigerFusedLinearCrossEntropyLoss(reduction="sum")
        base: Any = loaded.base
        inner = base.forward

        def forward(*args: Any, **kwargs: Any) -> Any:
            labels_BT = kwargs.pop(_LABELS, None)
            return inner(*args, **kwargs) if labels_BT is None else self._fused(base, labels_BT, kwargs)

        base.forward = forward  # through the model's own call, where wrappers for several devices listen

    def sum(self, model: Any, inputs: dict[str, Any]) -> torch.Tensor:
        """Sum of -ln p over the labels of a batch, with a gradient."""
        given = {name: value for name, value in inputs.items() if name != "labels"} | {"use_cache": False}
        self.calls += 1
        found: torch.Tensor = model(**given, **{_LABELS: inputs["labels"]})
        return found

    def _fused(self, base: Any, labels_BT: torch.Tensor, inputs: dict[str, Any]) -> torch.Tensor:
        hidden_BTD = base.get_decoder()(**inputs).last_hidden_state
        head = base.get_output_embeddings()
        hidden_ND = hidden_BTD[:, :-1].reshape(-1, hidden_BTD.shape[-1])
        found: torch.Tensor = self._kernel(head.weight, hidden_ND, labels_BT[:, 1:].reshape(-1), head.bias)
        return found

    @torch.no_grad()
    def check(self, loaded: Loaded, batch: dict[str, Any], events: Events) -> None:
        """ActionError `kernel-not-applied` unless the model's own loss on a batch is the kernel's."""
        model: Any = loaded.model
        trained = model.training
        model.eval()
        try:
            inputs = {k: v.to(model.device) for k, v in batch.items() if isinstance(v, torch.Tensor)}
            labels_BT = inputs.pop("labels")
            logits_BTV = model(**inputs, use_cache=False).logits
            own = cross_entropy(logits_BTV[:, :-1].flatten(0, 1).float(), labels_BT[:, 1:].flatten(), reduction="sum")
            fused = self.sum(model, inputs | {"labels": labels_BT})
        finally:
            model.train(trained)
        self.calls = 0
        difference = abs(float(fused) - float(own)) / max(abs(float(own)), 1e-6)
        events.effective(
            fused_loss={"kernel": "liger", "version": version("liger-kernel"), "relative_difference": difference}
        )
        if not difference <= _BOUND[loaded.dtype]:
            raise ActionError(
                f"Liger's loss on this model is {float(fused):.6g} where the model's own is {float(own):.6g}",
                slug=SLUG,
                hint='the model does more to its logits than the kernel knows: use loss_kernel = "default"',
            )
