"""Direct preference optimisation: the policy against its own start, on pairs of answers."""

from __future__ import annotations

from typing import Annotated, Literal

from tunekit.derive import Edge, Scope
from tunekit.forms import Reads
from tunekit.label import Label
from tunekit.methods.evaluated import own_eval_data
from tunekit.methods.pairwise.spec import PairRun, evals_of
from tunekit.methods.spec import DataItem, data_fields, items_of, policy, run_action, start_of, tokens_of
from tunekit.spec import numeric, semantic
from tunekit.steps.reference.spec import Pairing, Reference, Share, changed_by, reference_action

__all__ = ["Dpo", "derive", "policy"]


class ReferencedRun(PairRun, frozen=True, kw_only=True):
    """What methods on pairs share that hold the policy to a reference: dpo and ipo."""

    learning_rate: Annotated[float, semantic("Peak learning rate.", gt=0)] = 1e-6
    reference: Annotated[
        str | None,
        semantic("The reference policy: `model:`, `run:` or `merge:` label; default: the policy at the start."),
    ] = None
    use_weighting: Annotated[
        bool, semantic("Weigh each pair by how likely the policy itself is to write it (WPO, arXiv:2406.11827).")
    ] = False
    padding_free: Annotated[
        bool, numeric("The answers of a forward pass as one sequence without padding; they do not see each other.")
    ] = False

    def checks(self) -> list[tuple[str, str, str]]:
        return super().checks() + own_eval_data(self)


class Dpo(ReferencedRun, frozen=True, kw_only=True):
    """DPO (Rafailov et al. 2023, arXiv:2305.18290) by TRL's DPOTrainer: minus log sigmoid of `beta` times how much more
    the policy prefers the chosen answer over the rejected one than the reference does. Not without a policy that writes
    answers of this kind already: `sft` first, or `orpo`."""

    method: Annotated[Literal["dpo"], semantic("This method.")] = "dpo"
    beta: Annotated[float, semantic("How close the policy is held to the reference.", gt=0)] = 0.1
    loss: Annotated[
        Literal["sigmoid", "robust"],
        semantic("`sigmoid`; `robust`: without the bias of labels that are wrong as often as label_smoothing says."),
    ] = "sigmoid"
    label_smoothing: Annotated[float, semantic("Share of the pairs that may be the wrong way round.", ge=0, lt=0.5)] = (
        0.0
    )
    norm: Annotated[
        bool, semantic("Mean log-probabilities of tokens instead of sums, so that length does not count.")
    ] = False

    def checks(self) -> list[tuple[str, str, str]]:
        out = super().checks()
        if self.norm and (self.label_smoothing or self.loss != "sigmoid"):
            message = "`norm` is there for the sigmoid loss without label_smoothing"
            out.append(("norm", message, "leave one of them out"))
        if self.loss == "robust" and not self.label_smoothing:
            message = 'loss = "robust" needs label_smoothing: without it, it is "sigmoid"'
            out.append(("label_smoothing", message, "0.1 is what its paper recommends (arXiv:2403.00409)"))
        return out


def shares_of(items: list[DataItem]) -> list[Share]:
    """What of `data` says which rows are scored."""
    return [Share(limit=item.limit, weight=item.weight) for item in items]


def policy_of(named: str | None, start: dict[str, list[Edge]], scope: Scope) -> dict[str, list[Edge]]:
    """The weights of the reference policy by role; `start`: those that the run begins with."""
    if named is None:
        return start
    found = scope.policy(named, "reference")
    return {"base": [found.base]} | ({"adapter": [found.adapter]} if found.adapter else {})


def derive(label: Label, spec: ReferencedRun, scope: Scope) -> None:
    derive_referenced(label, spec, scope, ("chosen", "rejected"), spec.reference)


def derive_referenced(
    label: Label,
    spec: PairRun,
    scope: Scope,
    reads: tuple[Reads, ...],
    named: str | None,
    pairing: Pairing | None = None,
) -> None:
    """The actions of a run that is held to a reference policy: tokens, what the reference says of them, training."""
    items, evals = items_of(spec), evals_of(spec)
    start, adapter, tokenizer = start_of(label, spec, scope)
    tokens = tokens_of(label, items + evals, tokenizer, "data", scope, reads)
    scored = Reference(
        data=shares_of(items),
        eval_data=shares_of(evals),
        sequence_len=spec.sequence_len,
        overlong=spec.overlong,
        pairing=pairing,
        adapter=changed_by(adapter) if named is None else None,
        dtype=spec.dtype,
        attn=spec.attn,
        micro_batch_size=spec.micro_batch_size or min(spec.batch_size, 8),
        names=[item.dataset for item in items + evals],
    )
    read = policy_of(named, start, scope) | {"tokens": [tokens]} | ({"tokenizer": [tokenizer]} if named else {})
    reference = scope.add(reference_action(label, scored, read, spec.cpus))
    inputs = start | {"tokens": [tokens], "reference": [reference]}
    fields = {"data": data_fields(items), "eval_data": data_fields(evals)}
    scope.add(run_action(label, spec, inputs, adapter, drop=("eval_data", "reference"), fields=fields))
