"""Who divides a step's loss by what, where a step is several forward passes (gradient accumulation).

A model that divides by `num_items_in_batch` gets the count of the whole step; the Trainer then divides no further. It
believes every model whose `forward` takes `**kwargs` to be such a one. Of one that drops the count (a token classifier
of Transformers, say), loss and gradients would be too large by the number of forward passes.
"""

from __future__ import annotations

from typing import Any

import torch

STEP, PASS, TRAINER = "by the items of the step", "by those of each forward pass", "by the trainer"


def settle_scaling(trainer: Any) -> str:
    """Tell the trainer what its model does; returns it for the record. Trainers that say it themselves
    (`loss_is_scaled_for_ga`, as all of TRL's with a loss of their own) are left alone."""
    if trainer.loss_is_scaled_for_ga is not None or trainer.compute_loss_func is not None:
        return TRAINER
    if trainer.model_accepts_loss_kwargs and not divides_by_items(trainer.model):
        trainer.model_accepts_loss_kwargs = False
    return STEP if trainer.model_accepts_loss_kwargs else PASS


@torch.no_grad()
def divides_by_items(model: Any) -> bool:
    """Whether the model's loss is halved when it is told of twice the items: asked with four tokens."""
    trained = model.training
    model.eval()
    try:
        ids_BT = torch.arange(4, device=model.device)[None] % model.config.vocab_size
        logits = model(input_ids=ids_BT).logits
        words = logits.shape[-1] == model.config.vocab_size
        labels = ids_BT if words else torch.zeros(logits.shape[:-1], dtype=torch.long, device=logits.device)
        one, two = (float(model(input_ids=ids_BT, labels=labels, num_items_in_batch=n).loss) for n in (3, 6))
    finally:
        model.train(trained)
    return one != 0 and abs(two / one - 0.5) < 0.01
