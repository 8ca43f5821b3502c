"""Knowledge distillation: a student learns the distribution of a teacher, token by token."""

from __future__ import annotations

from typing import Annotated, Literal

from tunekit.derive import Scope
from tunekit.label import Label
from tunekit.methods.sft import spec as sft
from tunekit.methods.spec import policy
from tunekit.spec import PositiveInt, semantic

__all__ = ["Distill", "derive", "policy"]


class Distill(sft.Sft, frozen=True, kw_only=True):
    """Generalised knowledge distillation (Agarwal et al. 2023, arXiv:2306.13649) by TRL's GKDTrainer: on every labelled
    token, the divergence between the teacher's distribution and the student's, instead of the one right token.
    Not across vocabularies, and not where the teacher is no better than the rows: `sft` then costs half."""

    method: Annotated[Literal["distill"], semantic("This method.")] = "distill"  # type: ignore[assignment]
    teacher: Annotated[
        str, semantic("Who is learnt from: `model:`, `run:` or `merge:` label, with the student's vocabulary.")
    ]
    beta: Annotated[
        float,
        semantic(
            "The divergence. 0: KL(teacher, student), covers all that the teacher says; 1: KL(student, teacher), keeps "
            "to what it says most; between: Jensen-Shannon.",
            ge=0,
            le=1,
        ),
    ] = 0.5
    temperature: Annotated[
        float, semantic("Both distributions are softened by it, and completions sampled at it.", gt=0)
    ] = 1.0
    lmbda: Annotated[
        float,
        semantic(
            "Share of the steps on the student's own completions of the rows' prompts; 0: the rows alone.", ge=0, le=1
        ),
    ] = 0.0
    max_completion_length: Annotated[
        PositiveInt | None, semantic("With `lmbda`: longest completion of the student's, in tokens.")
    ] = None

    def checks(self) -> list[tuple[str, str, str]]:
        out = super().checks()
        if self.lmbda == 0.0 and self.max_completion_length:
            out.append(("max_completion_length", "only `lmbda` > 0 generates", "remove it, or set lmbda"))
        if self.lmbda > 0.0 and not self.max_completion_length:
            out.append(("max_completion_length", "`lmbda` > 0 generates: it needs a limit", "say 256, for instance"))
        if self.lmbda > 0.0 and (self.packing or self.padding_free):
            name = "packing" if self.packing else "padding_free"
            out.append((name, f"`{name}` joins rows, and completions are generated for each", "remove it, or lmbda"))
        return out


def derive(label: Label, spec: Distill, scope: Scope) -> None:
    """As of `sft`, with inputs `teacher` and maybe `teacher_adapter`."""
    found = scope.policy(spec.teacher, "teacher")
    inputs = {"teacher": [found.base]} | ({"teacher_adapter": [found.adapter]} if found.adapter else {})
    sft.derive_with(label, spec, scope, inputs, drop=("teacher",))
