"""TRL's SFTTrainer, fed with token views. It differs in how an evaluation loss is averaged, in the order that packed
and grouped rows come in, and in what it counts."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

import datasets
import torch
from accelerate.optimizer import AcceleratedOptimizer
from trl import SFTConfig, SFTTrainer

from tunekit.engine.arguments import batch_in, training_arguments
from tunekit.engine.loading import Loaded
from tunekit.engine.loss import token_loss
from tunekit.engine.resume import train_dir
from tunekit.engine.shares import Shares
from tunekit.errors import ActionError
from tunekit.methods.sft.batches import Counts, Feed
from tunekit.methods.sft.dataset import Documents
from tunekit.methods.sft.spec import Sft
from tunekit.methods.sft.stream import StreamFeed
from tunekit.protocol import Request

_NEVER = 10**9
NONE = Counts(0, 0, 0)


class TokenLossTrainer(SFTTrainer):
    """`eval_loss` is the mean over labelled tokens: TRL's mean of batch means depends on micro_batch_size."""

    _name = "SFT"
    # The sum over tokens is divided by the count of the whole step, whatever the model would do with that count.
    loss_is_scaled_for_ga: Any = True

    def __init__(self, feed: Feed | StreamFeed, evaluated: Documents | None, **kwargs: Any) -> None:
        # TRL looks at a `datasets.Dataset` when it is made, and takes no other. It sees the first document; what is
        # trained on is assigned below.
        sample = datasets.Dataset.from_list([feed.documents[0]])
        super().__init__(
            data_collator=feed.collate, train_dataset=sample, eval_dataset=sample if evaluated else None, **kwargs
        )
        self.train_dataset = feed.dataset
        self._feed = feed
        self._evaluated = evaluated
        self._counts = NONE
        for callback in feed.callbacks():
            self.add_callback(callback)

    def get_train_dataloader(self) -> Any:
        """In our order; accelerate deals what we have not dealt to the processes."""
        loader = self._feed.loader(batch_in(self.args), self.args.dataloader_pin_memory)
        return loader if isinstance(loader.batch_sampler, Shares) else self.accelerator.prepare(loader)

    def get_batch_samples(self, epoch_iterator: Iterator[Any], num_batches: int, device: Any) -> tuple[list[Any], Any]:
        """The batches of a step, and how many labels they have to predict. Transformers counts only where it believes
        that the model divides by it, and of some models the label of a first token, too."""
        samples, _ = super().get_batch_samples(epoch_iterator, num_batches, device)
        count = torch.tensor(sum(Counts(*batch["counts"]).supervised_tokens for batch in samples), device=device)
        return samples, self.accelerator.gather(count).sum()

    def compute_loss(
        self, model: Any, inputs: dict[str, Any], return_outputs: bool = False, num_items_in_batch: Any = None
    ) -> Any:
        counts = Counts(*inputs.pop("counts"))
        if self.args.world_size > 1:
            counts = Counts(*self.accelerator.gather(torch.tensor([counts], device=self.args.device)).sum(0).tolist())
        self._counts = Counts(*(a + b for a, b in zip(self._counts, counts, strict=True)))
        # The count that a checkpoint carries. Transformers' own takes every pad token for padding, an EOS too.
        self.state.num_input_tokens_seen += counts.tokens
        return super().compute_loss(model, inputs, return_outputs, num_items_in_batch)

    def log(self, logs: dict[str, float], start_time: float | None = None) -> None:
        """With the token counts since the point before, so that points add up to the run's totals."""
        if "loss" in logs:
            logs |= self._counts._asdict()
            self._counts = NONE
        super().log(logs, start_time)

    def evaluate(
        self, eval_dataset: Any = None, ignore_keys: list[str] | None = None, metric_key_prefix: str = "eval"
    ) -> dict[str, float]:
        found = self._evaluated
        if found is None or eval_dataset is not None:
            raise ValueError("this trainer evaluates the documents that it was made with")
        model: Any = self.model
        model.eval()
        if isinstance(self.optimizer, AcceleratedOptimizer):
            self.optimizer.eval()  # of a schedule-free one: to the weights that it stands for
        with torch.no_grad(), self.compute_loss_context_manager():
            loss = token_loss(model, found.tokens, found.spans, self.args.per_device_eval_batch_size)
        metrics = {f"{metric_key_prefix}_loss": loss.mean}
        self.log(dict(metrics))
        self.control = self.callback_handler.on_evaluate(self.args, self.state, self.control, metrics)
        return metrics


def make_trainer(
    spec: Sft,
    loaded: Loaded,
    request: Request,
    feed: Feed | StreamFeed,
    evaluated: Documents | None,
    trainer_class: Callable[..., TokenLossTrainer] = TokenLossTrainer,
    config: type[SFTConfig] = SFTConfig,
    **settings: Any,
) -> TokenLossTrainer:
    """Raises ActionError `trainer-refused`, and those of the arguments."""
    args = training_arguments(
        config,
        spec,
        request,
        output_dir=str(train_dir(request.staging)),
        max_length=None,
        dataset_kwargs={"skip_prepare_dataset": True},
        remove_unused_columns=False,
        # At its interval and, by Transformers' default flow, after the last step.
        eval_strategy="no" if evaluated is None else "steps",
        eval_steps=spec.eval_steps or _NEVER,
        **feed.arguments(),
        **settings,
    )
    try:
        return trainer_class(feed, evaluated, model=loaded.model, args=args, processing_class=loaded.tokenizer)
    except ValueError as e:
        raise ActionError(f"TRL refuses these settings: {e}", slug="trainer-refused") from e
