"""TRL's RewardTrainer on pairs of token views, its mean weighed over the whole step."""

from __future__ import annotations

from typing import Any

import datasets
import torch
from torch.nn.functional import logsigmoid
from trl import RewardConfig, RewardTrainer

from tunekit.engine.arguments import training_arguments
from tunekit.engine.heads import Head, pad_id_of
from tunekit.engine.loading import Loaded
from tunekit.engine.weighing import COUNTS, Scored, Term, Weighed
from tunekit.errors import ActionError
from tunekit.methods.pairwise.dataset import Pair, Pairs, padded
from tunekit.methods.pairwise.run import arguments_of
from tunekit.methods.reward.spec import RewardModel
from tunekit.protocol import Request

HEAD = Head("SEQ_CLS", 1)


class RewardCollator:
    """`input_ids` and `attention_mask`, [2B, T]: the chosen answers, then the rejected ones, as TRL's own collator."""

    def __init__(self, pad_token_id: int) -> None:
        self._pad_token_id = pad_token_id

    def __call__(self, pairs: list[Pair]) -> dict[str, Any]:
        batch: dict[str, Any] = padded([p.chosen for p in pairs] + [p.rejected for p in pairs], self._pad_token_id)
        del batch["labels"]
        batch[COUNTS] = {"pairs": len(pairs), "tokens": int(batch["attention_mask"].sum())}
        return batch


class BradleyTerryTrainer(Weighed, RewardTrainer):
    """Its loss of a pair is TRL's formula, which TRL has only as a mean over a forward pass."""

    def scored(self, model: Any, batch: dict[str, Any]) -> Scored:
        rewards_2B = model(**batch, use_cache=False).logits.squeeze(-1).float()
        chosen_B, rejected_B = rewards_2B.chunk(2)
        terms = [Term(-logsigmoid(chosen_B - rejected_B).sum(), "pairs")]
        args: Any = self.args
        if args.center_rewards_coefficient is not None:
            squares_B = (chosen_B + rejected_B) ** 2
            terms.append(Term(squares_B.sum(), "pairs", args.center_rewards_coefficient))
        return Scored(terms, _figures(chosen_B.detach(), rejected_B.detach()))


def _figures(chosen_B: torch.Tensor, rejected_B: torch.Tensor) -> dict[str, tuple[torch.Tensor, int]]:
    """Under TRL's names. Equal rewards are no right answer."""
    count = len(chosen_B)
    return {
        "accuracy": ((chosen_B > rejected_B).float().sum(), count),
        "margin": ((chosen_B - rejected_B).sum(), count),
        "mean_reward": ((chosen_B + rejected_B).sum(), 2 * count),
    }


def make_trainer(
    spec: RewardModel, request: Request, loaded: Loaded, trained: Pairs, evaluated: Pairs | None
) -> BradleyTerryTrainer:
    """Raises ActionError `trainer-refused`, `no-pad-token`, and those of the arguments."""
    settings = arguments_of(evaluated, spec, request) | {"max_length": None}  # rows were cut
    args = training_arguments(
        RewardConfig, spec, request, center_rewards_coefficient=spec.center_rewards_coefficient, **settings
    )
    first = trained[0]
    # TRL looks at a `datasets.Dataset` when it is made, and takes no other.
    sample = datasets.Dataset.from_list([{"chosen_ids": first.chosen[0], "rejected_ids": first.rejected[0]}])
    try:
        trainer = BradleyTerryTrainer(
            model=loaded.model,
            args=args,
            data_collator=RewardCollator(pad_id_of(loaded.tokenizer)),
            train_dataset=sample,
            eval_dataset=sample if evaluated else None,
            processing_class=loaded.tokenizer,
            evaluated=evaluated,
        )
    except ValueError as e:
        raise ActionError(f"TRL refuses these settings: {e}", slug="trainer-refused") from e
    trainer.train_dataset = trained
    return trainer
