"""TRL's CPOTrainer with the loss of SimPO, on pairs of token views, its means weighed over the whole step."""

from __future__ import annotations

from typing import Any

from tunekit.engine.arguments import training_arguments
from tunekit.engine.experimental import experimental
from tunekit.engine.loading import Loaded
from tunekit.engine.weighing import Scored, Term, Weighed
from tunekit.methods.pairwise.dataset import Pairs
from tunekit.methods.pairwise.figures import compared
from tunekit.methods.pairwise.run import arguments_of, pair_trainer
from tunekit.methods.simpo.spec import Simpo
from tunekit.protocol import Request

CPOTrainer: Any
CPOConfig: Any
CPOTrainer, CPOConfig = experimental("cpo", "CPOTrainer", "CPOConfig")


class SimpoTrainer(Weighed, CPOTrainer):
    """Its forward pass and its loss of a pair are TRL's."""

    def scored(self, model: Any, batch: dict[str, Any]) -> Scored:
        chosen_B, rejected_B, _, _, nll, *aux = self.concatenated_forward(model, batch)
        losses_B, chosen_rewards_B, rejected_rewards_B = self.cpo_loss(chosen_B, rejected_B)
        terms = [Term(losses_B.sum(), "pairs")]
        figures = compared(chosen_rewards_B, rejected_rewards_B, chosen_B, rejected_B)
        if self.cpo_alpha:
            labels = int((batch["chosen_labels"][:, 1:] != -100).sum())
            terms.append(Term(nll * labels, "chosen labels", self.cpo_alpha))
            figures |= {"nll_loss": (nll.detach() * labels, labels)}
        if aux:
            terms.append(Term(aux[0] * len(losses_B), "pairs", self.aux_loss_coef))
        return Scored(terms, figures)


def make_trainer(
    spec: Simpo, request: Request, loaded: Loaded, trained: Pairs, evaluated: Pairs | None
) -> SimpoTrainer:
    """Raises ActionError `trainer-refused`, and those of the arguments."""
    args = training_arguments(
        CPOConfig,
        spec,
        request,
        loss_type="simpo",
        beta=spec.beta,
        simpo_gamma=spec.simpo_gamma,
        cpo_alpha=spec.cpo_alpha,
        label_smoothing=spec.label_smoothing,
        **arguments_of(evaluated, spec, request),
    )
    made: SimpoTrainer = pair_trainer(SimpoTrainer, loaded, args, trained, evaluated)
    return made
