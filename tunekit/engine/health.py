"""Watches a training's figures and gradients: warns, or ends a run that has no hope, with likely cause and cure.

The history that a checkpoint carries is watched again when a run is continued, so that the receipts are those of the
whole run. A run that was stopped keeps its staging: with another bound it goes on from its last checkpoint.
"""

from __future__ import annotations

import fnmatch
import math
from collections.abc import Iterable, Mapping
from typing import Any, NamedTuple

from transformers import TrainerCallback, TrainerControl, TrainerState, TrainingArguments

from tunekit.bounds import bound, holds
from tunekit.engine.nonfinite import Gradients, LastForward, where_it_began
from tunekit.errors import GateError
from tunekit.health import FINITE, UNHEALTHY, Rule, rules_of
from tunekit.protocol import Events

GUESSING, OVER_BEST = "loss/ln(vocabulary)", "eval_loss/best"
NOT_FINITE = "not-finite"


class Finding(NamedTuple):
    """A rule that has tripped: the figure, its value, and the step at which the row of bad points is full."""

    rule: Rule
    metric: str
    value: float
    step: int

    def __str__(self) -> str:
        r = self.rule
        many = f" in each of the last {r.lasting} points" if r.lasting > 1 else ""
        return f"{self.metric} is {self.value:.4g} at step {self.step} (wanted {r.wanted}{many}): {r.cause}"


class Monitor:
    """Points of a metrics history against the rules; knows nothing of trainers."""

    def __init__(self, rules: Iterable[Rule], vocabulary: int = 0) -> None:
        self._rules = list(rules)
        self._vocabulary = vocabulary
        self._best = math.inf
        self._bad: dict[tuple[str, str], int] = {}  # (rule, figure) → points in a row
        self._tripped: dict[str, Finding] = {}
        self._worst: dict[str, tuple[float, str, int]] = {}  # rule → the value nearest to its bound or beyond it

    def take(self, step: int, figures: Mapping[str, Any]) -> list[Finding]:
        """The rules that trip at this point; each trips once."""
        numbers = {k: float(v) for k, v in figures.items() if isinstance(v, (int, float)) and not isinstance(v, bool)}
        numbers |= self._made(numbers)
        out = []
        for rule in self._rules:
            if rule.act == "off" or step <= rule.after:
                continue
            for metric in fnmatch.filter(numbers, rule.metric):
                found = self._judge(rule, metric, numbers[metric], step)
                if found and rule.name not in self._tripped:
                    self._tripped[rule.name] = found
                    out.append(found)
        return out

    def trip(self, rule: Rule, metric: str, step: int) -> bool:
        """Note that a rule was broken in another way than by a figure; False if it had tripped before."""
        if rule.name in self._tripped:
            return False
        self._tripped[rule.name] = Finding(rule, metric, math.nan, step)
        return True

    def _made(self, numbers: dict[str, float]) -> dict[str, float]:
        out = {}
        if self._vocabulary > 1 and "loss" in numbers:
            out[GUESSING] = numbers["loss"] / math.log(self._vocabulary)
        if "eval_loss" in numbers:
            self._best = min(self._best, numbers["eval_loss"])
            if self._best > 0:
                out[OVER_BEST] = numbers["eval_loss"] / self._best
        return out

    def _judge(self, rule: Rule, metric: str, value: float, step: int) -> Finding | None:
        found = bound(rule.wanted)
        if rule.wanted == FINITE:
            fine = math.isfinite(value)
        else:
            assert found is not None
            fine = not math.isfinite(value) or holds(found, value)  # what is no number is another rule's business
        below = found is not None and found[0] in ("<", "<=")
        if found is not None and math.isfinite(value):
            worst = self._worst.get(rule.name)
            if worst is None or (value > worst[0] if below else value < worst[0]):
                self._worst[rule.name] = (value, metric, step)
        at = (rule.name, metric)
        self._bad[at] = 0 if fine else self._bad.get(at, 0) + 1
        return Finding(rule, metric, value, step) if self._bad[at] >= rule.lasting else None

    def receipts(self) -> dict[str, dict[str, Any]]:
        """Rule → what was wanted and measured: the worst value, and at which step. `passed` is null where nothing was
        measured, or the rule is off."""
        out: dict[str, dict[str, Any]] = {}
        for rule in self._rules:
            tripped, worst = self._tripped.get(rule.name), self._worst.get(rule.name)
            entry: dict[str, Any] = {"wanted": rule.wanted, "act": rule.act, "passed": None}
            if tripped:
                entry |= {"passed": False, "metric": tripped.metric, "tripped_at_step": tripped.step}
            elif rule.act != "off" and (worst or rule.wanted == FINITE):
                entry["passed"] = True
            if worst:
                entry |= {"worst": worst[0], "metric": worst[1], "at_step": worst[2]}
            out[rule.name] = entry
        return out


class HealthWatch(TrainerCallback):
    """The monitor of a training. Raises GateError `unhealthy` where a rule stops the run."""

    def __init__(self, events: Events, method: str, said: str | Mapping[str, str], vocabulary: int) -> None:
        self._events = events
        rules = rules_of(method, said)
        self.monitor = Monitor(rules, vocabulary)
        self._finite = next(rule for rule in rules if rule.name == NOT_FINITE)
        self._looked: tuple[Any, Gradients, LastForward] | None = None

    def look_into(self, model: Any) -> None:
        """Look at every gradient, too."""
        if self._finite.act != "off":
            self._looked = model, Gradients(model), LastForward(model)

    def on_pre_optimizer_step(
        self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **kwargs: Any
    ) -> None:
        if self._looked:
            model, gradients, last = self._looked
            if broken := gradients.broken():
                self._not_finite(state.global_step + 1, where_it_began(model, broken, len(gradients), last))

    def on_train_begin(
        self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **kwargs: Any
    ) -> None:
        for entry in state.log_history:
            self._take(int(entry["step"]), entry)

    def on_log(
        self,
        args: TrainingArguments,
        state: TrainerState,
        control: TrainerControl,
        logs: dict[str, Any] | None = None,
        **kwargs: Any,
    ) -> None:
        if logs:
            self._take(state.global_step, logs)

    def _take(self, step: int, logs: dict[str, Any]) -> None:
        if "train_loss" in logs:  # the summary at the end: a mean over all that was
            return
        for found in sorted(self.monitor.take(step, logs), key=lambda f: f.rule.act == "stop"):  # all is said first
            self._act(found.rule, str(found), found.value)

    def _not_finite(self, step: int, where: str) -> None:
        if self.monitor.trip(self._finite, "gradient", step):
            self._act(self._finite, f"step {step}: {where}; {self._finite.cause}", "not a finite number")

    def _act(self, rule: Rule, message: str, measured: Any) -> None:
        if rule.act == "warn":
            self._events.warning(rule.name, f"{message}. {rule.cure[0].upper()}{rule.cure[1:]}")
            return
        value = str(measured) if isinstance(measured, float) and not math.isfinite(measured) else measured
        self._events.effective(health=self.monitor.receipts())
        self._events.gate(f"health/{rule.name}", False, value, rule.wanted)
        print(f"stopped by its health rule `{rule.name}`: {message}\n  = help: {rule.cure}", flush=True)
        raise GateError(
            f"stopped by its health rule `{rule.name}`: {message}",
            slug=UNHEALTHY,
            hint=f'{rule.cure}. To go on from its last checkpoint all the same: health = {{ {rule.name} = "warn" }}',
        )
