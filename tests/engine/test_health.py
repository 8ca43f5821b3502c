"""Trainings that go wrong, and what is said of them; the monitor on made-up histories."""

import json
import math
import sys
from pathlib import Path
from typing import Any

import pytest

sys.path.insert(0, str(Path(__file__).parent))
sys.path.insert(0, str(Path(__file__).parents[1] / "methods" / "sft"))
import msgspec
import tiny_stack as tiny
import torch
from sft_runs import LORA, Case

from tunekit.engine.health import Monitor
from tunekit.engine.nonfinite import Gradients
from tunekit.errors import GateError
from tunekit.health import rules_of
from tunekit.methods.sft.run import train_sft
from tunekit.methods.sft.spec import Sft
from tunekit.methods.sft.trainer import TokenLossTrainer

pytestmark = pytest.mark.torch
SPEC: dict[str, Any] = {
    "model": "model:m", "data": ["dataset:a"], "batch_size": 4, "max_steps": 6, "learning_rate": 1e-2,
    "lr_scheduler": "constant", "checkpoint_steps": 2,
}  # fmt: skip


def monitor(method: str, said: Any = "", vocabulary: int = 0) -> Monitor:
    return Monitor(rules_of(method, said), vocabulary)


def tripped(watch: Monitor, name: str, values: list[float], metric: str) -> list[tuple[int, str]]:
    found = [f for step, value in enumerate(values, 1) for f in watch.take(step, {metric: value})]
    return [(f.step, f.metric) for f in found if f.rule.name == name]


class TestMonitor:
    def test_a_row_of_bad_points(self):
        """Not before `after`, not by points that are interrupted, and once."""
        values = [500.0] * 10 + [500.0, 500.0, 5.0, 500.0, 500.0, 500.0, 500.0]
        watch = monitor("sft")
        assert tripped(watch, "exploding-gradient", values, "grad_norm") == [(16, "grad_norm")]
        receipt = watch.receipts()["exploding-gradient"]
        assert receipt["passed"] is False and receipt["worst"] == 500.0 and receipt["tripped_at_step"] == 16

    def test_guessing(self):
        loss = math.log(1000)
        assert tripped(monitor("sft", vocabulary=1000), "random-loss", [loss] * 30, "loss")[0][0] == 25
        assert not tripped(monitor("sft", vocabulary=1000), "random-loss", [loss * 0.9] * 30, "loss")
        assert not tripped(monitor("sft"), "random-loss", [loss] * 30, "loss")

    def test_evaluations_that_rise(self):
        values = [2.0, 1.0, 1.05, 1.2, 1.2, 1.3]
        assert tripped(monitor("sft"), "overfit", values, "eval_loss") == [(6, "eval_loss/best")]

    def test_each_reward_on_its_own(self):
        watch = monitor("grpo")
        found = []
        for step in range(1, 25):
            figures = {"rewards/a/std": 0.0, "rewards/b/std": 0.5, "reward": 1.0}
            found += [f for f in watch.take(step, figures) if f.rule.name == "dead-reward"]
        assert [(f.metric, f.step) for f in found] == [("rewards/a/std", 20)]

    @pytest.mark.parametrize(
        ("method", "name", "metric", "bad", "good"),
        [
            ("dpo", "negative-margins", "rewards/margins", -0.1, 0.1),
            ("reward", "negative-margins", "margin", -0.1, 0.1),
            ("grpo", "entropy-collapse", "entropy", 0.001, 0.2),
            ("grpo", "truncated-completions", "completions/clipped_ratio", 0.95, 0.2),
            ("grpo", "sparse-reward", "frac_reward_zero_std", 0.9, 0.5),
            ("grpo", "far-from-reference", "kl", 3.0, 0.1),
            ("grpo", "clipped-updates", "clip_ratio/region_mean", 0.5, 0.01),
            ("grpo", "constant-reward", "frac_reward_zero_std", 1.0, 0.9),
        ],
    )
    def test_ranges(self, method, name, metric, bad, good):
        assert len(tripped(monitor(method), name, [bad] * 100, metric)) == 1
        assert not tripped(monitor(method), name, [good] * 100, metric)
        assert not tripped(monitor(method, {name: "off"}), name, [bad] * 100, metric)

    def test_what_was_never_measured_has_no_verdict(self):
        watch = monitor("sft", {"overfit": "off"})
        watch.take(1, {"loss": 1.0, "grad_norm": 2.0})
        receipts = watch.receipts()
        assert receipts["overfit"] == {"wanted": "< 1.1", "act": "off", "passed": None}
        assert receipts["random-loss"]["passed"] is None
        assert receipts["frozen-gradient"]["passed"] is True and receipts["frozen-gradient"]["worst"] == 2.0


def test_gradients_of_any_kind():
    model = torch.nn.Module()
    model.a = torch.nn.Parameter(torch.zeros(3))
    model.b = torch.nn.Parameter(torch.zeros(2, dtype=torch.bfloat16))
    model.frozen = torch.nn.Parameter(torch.zeros(2), requires_grad=False)
    gradients = Gradients(model)
    assert len(gradients) == 2 and gradients.broken() == []
    (model.b * torch.tensor([1.0, 2.0], dtype=torch.bfloat16)).sum().backward()
    assert gradients.broken() == []
    (model.a * torch.tensor([0.0, math.inf, 1.0])).sum().backward()
    torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)  # what comes next does not matter
    assert gradients.broken() == ["a"] and gradients.broken() == []


@pytest.fixture(scope="module")
def case(tmp_path_factory: pytest.TempPathFactory) -> Case:
    return Case(tmp_path_factory.mktemp("health"))


def stopped(case: Case, root: Path, spec: dict[str, Any], **more: Any) -> tuple[GateError, tiny.Recorder]:
    events = tiny.Recorder()
    with pytest.raises(GateError) as found:
        train_sft(msgspec.convert(spec, Sft), case.request(root, spec), events, **more)
    assert found.value.slug == "unhealthy" and found.value.exit_code == 5
    return found.value, events


def test_an_overflow_in_the_forward_pass(case: Case, tmp_path: Path) -> None:
    """Where it began is said; the optimizer never saw it, and no checkpoint has it."""
    error, events = stopped(case, tmp_path, SPEC | {"learning_rate": 1e25, "checkpoint_steps": 1})
    assert "step 2" in error.message and "the forward pass overflows first in `model.layers.0." in error.message
    assert "the largest weight is 1e+25" in error.message and "learning_rate" in error.hint
    assert [(g["name"], g["passed"]) for g in events.of("gate")] == [("health/not-finite", False)]
    assert events.settings["health"]["not-finite"] == {
        "wanted": "finite", "act": "stop", "passed": False, "metric": "gradient", "tripped_at_step": 2
    }  # fmt: skip
    state = json.loads((tmp_path / "staging" / "train" / "checkpoint-1" / "trainer_state.json").read_text())
    assert [entry["step"] for entry in state["log_history"]] == [1]


class BrokenBackward(TokenLossTrainer):
    """Its loss is right, and its gradient is not, from the third step on: sqrt at 0."""

    def compute_loss(
        self, model: Any, inputs: Any, return_outputs: bool = False, num_items_in_batch: Any = None
    ) -> Any:
        loss = super().compute_loss(model, inputs, return_outputs, num_items_in_batch)
        if self.state.global_step < 2:
            return loss
        weight = dict(model.named_parameters())["model.norm.weight"]
        return loss + torch.sqrt((weight - weight.detach()).abs().sum())


def test_a_gradient_that_is_none(case: Case, tmp_path: Path) -> None:
    error, _ = stopped(case, tmp_path, SPEC, trainer_class=BrokenBackward)
    assert "step 3: the gradient is not finite in 1 of 21 weights" in error.message
    assert "the forward pass is finite, the backward pass goes wrong first at `model.norm.weight`" in error.message


class Frozen(TokenLossTrainer):
    """Nothing that is trained has a part in its loss."""

    def compute_loss(self, *args: Any, **kwargs: Any) -> Any:
        return super().compute_loss(*args, **kwargs) * 0.0


def test_a_frozen_gradient_and_going_on(case: Case, tmp_path: Path) -> None:
    error, events = stopped(case, tmp_path, SPEC, trainer_class=Frozen)
    assert "grad_norm is 0 at step 3 (wanted > 0 in each of the last 3 points)" in error.message
    assert 'health = { frozen-gradient = "warn" }' in error.hint
    events = tiny.Recorder()
    spec = SPEC | {"health": {"frozen-gradient": "warn"}}
    train_sft(msgspec.convert(spec, Sft), case.request(tmp_path, spec), events, trainer_class=Frozen)
    assert events.settings["resumed_from_step"] == 2  # what was stopped kept its staging
    (warning,) = events.of("warning")
    assert warning["slug"] == "frozen-gradient" and "Look at what is trained" in warning["message"]
    assert events.settings["health"]["frozen-gradient"]["passed"] is False
    assert events.settings["health"]["not-finite"]["passed"] is True


def test_a_continued_run_has_the_receipts_of_the_whole(case: Case, tmp_path: Path) -> None:
    spec = SPEC | {"health": {"exploding-gradient": "< 0.001 after 0 for 1 warn"}}
    req = case.request(tmp_path, spec)
    with pytest.raises(KeyboardInterrupt):
        train_sft(msgspec.convert(spec, Sft), req, tiny.Interrupted(4))
    events = tiny.Recorder()
    train_sft(msgspec.convert(spec, Sft), req, events)
    assert [w["slug"] for w in events.of("warning")] == ["exploding-gradient"]
    receipt = events.settings["health"]["exploding-gradient"]
    assert receipt["tripped_at_step"] == 1 and receipt["worst"] == max(f["grad_norm"] for _, f in events.metrics)


def test_watching_changes_no_bit(case: Case, tmp_path: Path) -> None:
    outputs = {}
    for health in ("stop", "off"):
        spec = SPEC | {"health": health, "adapter": LORA, "gradient_checkpointing": True}
        outputs[health], events = case.run(tmp_path / health, spec)
    assert tiny.tree(outputs["stop"]["last"]) == tiny.tree(outputs["off"]["last"])
    assert {r["act"] for r in events.settings["health"].values()} == {"off"}


def test_what_progress_tells(case: Case, tmp_path: Path) -> None:
    _, events = case.run(tmp_path, SPEC)
    last = events.of("progress")[-1]
    assert {"loss", "grad_norm", "learning_rate", "mean_token_accuracy", "tokens_per_s", "memory"} <= last.keys()
    assert (
        last["supervised_tokens"]
        == sum(f["supervised_tokens"] for _, f in events.metrics if "loss" in f)
        - (
            events.metrics[-1][1]["supervised_tokens"]  # the last point comes after the last step
        )
    )
    assert last["memory"] > 50e6
