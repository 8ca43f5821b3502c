"""TRL's GKDTrainer, fed with token views. Its divergence is taken of labelled tokens alone, whatever the layout of a
batch, and its on-policy steps are `own`."""

from __future__ import annotations

from collections.abc import Iterator
from itertools import count
from typing import Any

import torch

from tunekit.engine.experimental import experimental
from tunekit.methods.distill.own import OwnCompletions
from tunekit.methods.distill.spec import Distill
from tunekit.methods.sft.batches import Feed
from tunekit.methods.sft.dataset import Documents
from tunekit.methods.sft.stream import StreamFeed
from tunekit.methods.sft.trainer import TokenLossTrainer

GKDTrainer: Any
GKDConfig: Any
GKDTrainer, GKDConfig = experimental("gkd", "GKDTrainer", "GKDConfig")


class _Divergence(GKDTrainer):
    def compute_loss(
        self, model: Any, inputs: dict[str, Any], return_outputs: bool = False, num_items_in_batch: Any = None
    ) -> Any:
        """TRL's own hands the models an attention mask only, and softens nothing: `temperature` is that of sampling
        there. A distribution over the whole vocabulary for each padding token would be the largest tensor of a step."""
        given = {name: value for name, value in inputs.items() if name != "labels"} | {"use_cache": False}
        kept_BT = inputs["labels"][:, 1:] != -100
        with torch.no_grad():
            teacher_NV = self.teacher_model(**given).logits[:, :-1][kept_BT]
        outputs = model(**given)
        loss = self.generalized_jsd_loss(
            outputs.logits[:, :-1][kept_BT],
            teacher_NV,
            beta=self.beta,
            temperature=self.temperature,
            num_items_in_batch=kept_BT.sum() if num_items_in_batch is None else num_items_in_batch,
        )
        if self.args.average_tokens_across_devices and num_items_in_batch is not None:
            loss = loss * self.accelerator.num_processes  # the count is over all of them, and gradients are averaged
        return (loss, outputs) if return_outputs else loss


class DistillTrainer(TokenLossTrainer, _Divergence):
    """`eval_loss` is the student's next-token loss, as of `sft`."""

    def __init__(
        self, feed: Feed | StreamFeed, evaluated: Documents | None, *, spec: Distill, teacher: Any, **kwargs: Any
    ) -> None:
        super().__init__(feed, evaluated, teacher_model=teacher, **kwargs)
        self._own = (
            OwnCompletions(spec, kwargs["model"], kwargs["processing_class"], feed.collate) if spec.lmbda else None
        )

    def get_batch_samples(self, epoch_iterator: Iterator[Any], num_batches: int, device: Any) -> Any:
        """The batches of a step, whose labels are then counted."""
        own, step = self._own, self.state.global_step
        if own and own.wanted(step):
            process, parts = self.accelerator.process_index, count()
            epoch_iterator = (own.replaced(batch, step, process, next(parts)) for batch in epoch_iterator)
        return super().get_batch_samples(epoch_iterator, num_batches, device)


def gkd_settings(spec: Distill) -> dict[str, Any]:
    """Of TRL's configuration. Dropout is the adapter's setting: TRL would switch it off."""
    return {"beta": spec.beta, "temperature": spec.temperature, "lmbda": 0.0, "disable_dropout": False}
