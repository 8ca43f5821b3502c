"""TRL's ORPOTrainer on pairs of token views, its two means weighed over the whole step."""

from __future__ import annotations

from typing import Any

from tunekit.engine.arguments import training_arguments
from tunekit.engine.experimental import experimental
from tunekit.engine.loading import Loaded
from tunekit.engine.weighing import Scored, Term, Weighed
from tunekit.methods.orpo.spec import Orpo
from tunekit.methods.pairwise.dataset import Pairs
from tunekit.methods.pairwise.figures import compared
from tunekit.methods.pairwise.run import arguments_of, pair_trainer
from tunekit.protocol import Request

ORPOTrainer: Any
ORPOConfig: Any
ORPOTrainer, ORPOConfig = experimental("orpo", "ORPOTrainer", "ORPOConfig")


class OrpoTrainer(Weighed, ORPOTrainer):
    """Its forward pass and its odds ratio are TRL's."""

    def scored(self, model: Any, batch: dict[str, Any]) -> Scored:
        chosen_B, rejected_B, _, _, nll, *aux = self.concatenated_forward(model, batch)
        odds_B, chosen_rewards_B, rejected_rewards_B, _, _ = self.odds_ratio_loss(chosen_B, rejected_B)
        # TRL's mean over prompt and chosen answer; its sum is what adds up over a step.
        tokens = int(batch["chosen_attention_mask"][:, 1:].sum())
        terms = [Term(nll * tokens, "chosen tokens"), Term(odds_B.sum(), "pairs", -1.0)]
        if aux:
            terms.append(Term(aux[0] * len(odds_B), "pairs", self.aux_loss_coef))
        figures = compared(chosen_rewards_B, rejected_rewards_B, chosen_B, rejected_B)
        figures |= {"nll_loss": (nll.detach() * tokens, tokens)}
        figures |= {"log_odds_ratio": (odds_B.detach().sum() / self.beta, len(odds_B))}
        return Scored(terms, figures)


def make_trainer(spec: Orpo, request: Request, loaded: Loaded, trained: Pairs, evaluated: Pairs | None) -> OrpoTrainer:
    """Raises ActionError `trainer-refused`, and those of the arguments."""
    pad = trained.tokens.pad_token_id
    args = training_arguments(
        ORPOConfig, spec, request, beta=spec.beta, padding_value=pad, **arguments_of(evaluated, spec, request)
    )
    made: OrpoTrainer = pair_trainer(OrpoTrainer, loaded, args, trained, evaluated)
    return made
