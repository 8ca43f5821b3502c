"""An eval: what a set of weights scores on a dataset, as a record."""

from __future__ import annotations

from typing import Annotated, Literal

from tunekit.derive import Scope, action_of, form_for
from tunekit.label import Label
from tunekit.spec import PRIVATE, PositiveInt, Spec, numeric, operational, semantic
from tunekit.steps.tokens.spec import token_item, tokens_action


class Eval(Spec, frozen=True, kw_only=True):
    """Loss on labelled tokens, accuracy on multiple choice, or the mean of a scorer over generated completions."""

    model: Annotated[str, semantic("`model:`, `run:` or `merge:` label.")]
    data: Annotated[list[str], semantic("Datasets, scored together.", min_length=1)]
    scorer: Annotated[str, semantic("`file.py:function` with a reward's signature; empty: the loss.")] = ""
    measure: Annotated[
        Literal["loss", "choices"],
        semantic("Without a scorer: the loss on labelled tokens, or which of `choices` rows' answers is likeliest."),
    ] = "loss"
    limit: Annotated[PositiveInt | None, semantic("Score the first rows only.")] = None
    sequence_len: Annotated[int, semantic("Longest sequence in tokens; longer rows are split (loss).", ge=8)] = 1024
    max_completion_length: Annotated[int, semantic("Longest completion in tokens.", ge=1)] = 256
    temperature: Annotated[float, semantic("0: greedy.", ge=0)] = 0.0
    num_generations: Annotated[int, semantic("Completions a prompt.", ge=1)] = 1
    seed: Annotated[int, semantic("Seed of sampling.", ge=0)] = 0
    micro_batch_size: Annotated[int, numeric("Rows a forward pass.", ge=1)] = 16
    cpus: Annotated[int, numeric("Threads; 0: all that there are.", ge=0)] = 0
    scorer_timeout: Annotated[float, operational("Seconds one call of the scorer may take.", gt=0)] = 30.0
    gates: Annotated[dict[str, str], operational('Bounds on its metrics: `gates = { score = "> 0.5" }`.')] = {}
    private: Annotated[bool | None, operational(PRIVATE)] = None

    def checks(self) -> list[tuple[str, str, str]]:
        if self.scorer and self.measure != "loss":
            hint = "a scorer judges completions: leave one of the two out"
            return [("measure", f'`scorer` and `measure = "{self.measure}"` exclude each other', hint)]
        return []


def derive(label: Label, spec: Eval, scope: Scope) -> None:
    found = scope.policy(spec.model, "model")
    data = [scope.dataset(text, "data") for text in spec.data]
    inputs = {"base": [found.base]} | ({"adapter": [found.adapter]} if found.adapter else {})
    code: list[str] = []
    if spec.scorer:
        code.append(scope.code(spec.scorer, "scorer"))
        inputs["data"] = data
        for text in spec.data:
            form_for("generation", scope, text, "data")
    elif spec.measure == "choices":
        inputs["data"] = data
        for text in spec.data:
            form_for("choosing", scope, text, "data")
    else:
        items = [token_item(scope, text, "data") for text in spec.data]
        inputs["tokens"] = [scope.add(tokens_action(label, items, data, found.tokenizer))]
    drop: tuple[str, ...] = ("model", "data")
    if "tokens" not in inputs:
        drop += ("sequence_len",)
    scope.add(
        action_of(
            label,
            "eval",
            spec,
            drop=drop,
            inputs=inputs,
            code=code,
            seed=spec.seed,
            cpus=spec.cpus,
            gates=dict(spec.gates),
        )
    )
