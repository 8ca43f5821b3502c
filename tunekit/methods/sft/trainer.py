"""TRL's SFTTrainer, fed with token views; its only change is how an evaluation loss is averaged."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import torch
from trl import SFTConfig, SFTTrainer
from trl.trainer.sft_trainer import DataCollatorForLanguageModeling

from tunekit.engine.arguments import training_arguments
from tunekit.engine.loading import Loaded
from tunekit.engine.loss import token_loss
from tunekit.engine.resume import train_dir
from tunekit.engine.rows import Tokens
from tunekit.errors import ActionError
from tunekit.methods.sft.dataset import dataset_of, packed_dataset_of
from tunekit.methods.sft.spec import Sft
from tunekit.protocol import Request

# Attention implementations that keep the rows of a packed sequence apart by their lengths.
VARLEN = ("flash_attention_2", "flash_attention_3")
_NEVER = 10**9


class TokenLossTrainer(SFTTrainer):
    """`eval_loss` is the mean over labelled tokens: TRL's mean of batch means depends on micro_batch_size."""

    _name = "SFT"

    def __init__(self, tokens: Tokens, eval_spans: np.ndarray | None, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self._tokens = tokens
        self._eval_spans = eval_spans

    def evaluate(
        self, eval_dataset: Any = None, ignore_keys: list[str] | None = None, metric_key_prefix: str = "eval"
    ) -> dict[str, float]:
        if self._eval_spans is None or eval_dataset is not None:
            raise ValueError("this trainer evaluates the spans that it was made with")
        model: Any = self.model
        model.eval()
        with torch.no_grad(), self.compute_loss_context_manager():
            loss = token_loss(model, self._tokens, self._eval_spans, self.args.per_device_eval_batch_size)
        metrics = {f"{metric_key_prefix}_loss": loss.mean}
        self.log(dict(metrics))
        self.control = self.callback_handler.on_evaluate(self.args, self.state, self.control, metrics)
        return metrics


def make_trainer(
    spec: Sft,
    loaded: Loaded,
    request: Request,
    tokens: Tokens,
    train_spans: np.ndarray,
    eval_spans: np.ndarray | None,
    trainer_class: Callable[..., TokenLossTrainer] = TokenLossTrainer,
) -> TokenLossTrainer:
    """Raises ActionError `packing-needs-varlen-attention`, `trainer-refused`, and those of the arguments."""
    if spec.packing and loaded.attn not in VARLEN:
        raise ActionError(
            f"packing = true with attn = {loaded.attn!r}: rows of one sequence would see each other",
            slug="packing-needs-varlen-attention",
            hint='set attn = "flash_attention_2", or packing = false',
        )
    args = training_arguments(
        SFTConfig,
        spec,
        request,
        output_dir=str(train_dir(request.staging)),
        max_length=spec.sequence_len if spec.packing else None,
        packing=spec.packing,
        eval_packing=False,
        dataset_kwargs={"skip_prepare_dataset": True},
        remove_unused_columns=False,
        include_num_input_tokens_seen="non_padding",
        # At its interval and, by Transformers' default flow, after the last step.
        eval_strategy="no" if eval_spans is None else "steps",
        eval_steps=spec.eval_steps or _NEVER,
    )
    if spec.packing:
        train_dataset = packed_dataset_of(tokens, train_spans, spec.sequence_len)
        collator = None  # TRL's own, padding-free
    else:
        train_dataset = dataset_of(tokens, train_spans)
        collator = DataCollatorForLanguageModeling(pad_token_id=tokens.pad_token_id)
    try:
        return trainer_class(
            tokens,
            eval_spans,
            model=loaded.model,
            args=args,
            data_collator=collator,
            train_dataset=train_dataset,
            eval_dataset=None if eval_spans is None else dataset_of(tokens, eval_spans),
            processing_class=loaded.tokenizer,
        )
    except ValueError as e:
        raise ActionError(f"TRL refuses these settings: {e}", slug="trainer-refused") from e
