"""Runs of `method = "sft"` that differ in how a step is computed, and must not differ in what it computes."""

import sys
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

sys.path.insert(0, str(Path(__file__).parents[1] / "methods" / "sft"))
sys.path.insert(0, str(Path(__file__).parents[1] / "engine"))
sys.path.insert(0, str(Path(__file__).parent))
import tiny_stack as tiny
import torch
from sft_runs import Case
from trajectory import Trajectory, assert_shared, trajectory_of

from tunekit.engine.scaling import PASS, STEP, divides_by_items, settle_scaling
from tunekit.methods.sft.run import run

pytestmark = pytest.mark.torch
# SGD: its step is the gradient, where Adam's would hide a factor.
SPEC: dict[str, Any] = {
    "model": "model:m",
    "data": ["dataset:a"],
    "batch_size": 21,
    "max_steps": 3,
    "learning_rate": 0.5,
    "optimizer": "sgd",
    "lr_scheduler": "constant",
    "sequence_len": 64,
    "checkpoint_steps": 2,
}


@pytest.fixture(scope="module")
def case(tmp_path_factory: pytest.TempPathFactory) -> Case:
    return Case(tmp_path_factory.mktemp("sft"))


@pytest.fixture(scope="module")
def reference(case: Case, tmp_path_factory: pytest.TempPathFactory) -> Trajectory:
    """All 21 rows in one padded forward pass a step."""
    return trajectory_of(*case.run(tmp_path_factory.mktemp("reference"), SPEC))


WAYS: dict[str, dict[str, Any]] = {
    "accumulated": {"micro_batch_size": 7},
    "a row at a time": {"micro_batch_size": 1},
    "padding-free": {"padding_free": True},
    "padding-free, accumulated": {"padding_free": True, "micro_batch_size": 3},
    "packed": {"packing": True, "batch_size": 6, "micro_batch_size": 1},  # the same rows in fewer sequences
    "packed, padding-free": {"packing": True, "padding_free": False, "batch_size": 6, "attn": "sdpa"},
    "checkpointed": {"gradient_checkpointing": True, "micro_batch_size": 7},
}


@pytest.mark.parametrize("way", WAYS)
def test_one_trajectory(case: Case, reference: Trajectory, tmp_path: Path, way: str) -> None:
    assert_shared(trajectory_of(*case.run(tmp_path, SPEC | WAYS[way])), reference)


def test_resume_shares_it_bit_by_bit(case: Case, reference: Trajectory, tmp_path: Path) -> None:
    with pytest.raises(KeyboardInterrupt):
        run(case.request(tmp_path, SPEC), tiny.Interrupted(3))
    outputs, events = case.run(tmp_path, SPEC)
    assert events.settings["resumed_from_step"] == 2
    assert_shared(trajectory_of(outputs, events), reference, tolerance=0.0)


def test_a_model_that_says_it_takes_no_count(case: Case, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """79 models of Transformers do. TRL computes the loss itself, so the count still decides."""
    from transformers import LlamaForCausalLM

    monkeypatch.setattr(LlamaForCausalLM, "accepts_loss_kwargs", False, raising=False)
    spec = SPEC | {"max_steps": 1}
    whole = trajectory_of(*case.run(tmp_path / "whole", spec))
    assert_shared(trajectory_of(*case.run(tmp_path / "parts", spec | {"micro_batch_size": 1})), whole)


ROWS = st.lists(st.tuples(st.integers(2, 40), st.integers(0, 10_000), st.floats(0, 1)), min_size=2, max_size=6)


@given(rows=ROWS)
@settings(max_examples=4, deadline=None, derandomize=True, suppress_health_check=list(HealthCheck))
def test_micro_batches_are_one_batch(
    case: Case, tmp_path_factory: pytest.TempPathFactory, rows: list[tuple[int, int, float]]
) -> None:
    """Whatever the lengths and the share of labelled tokens: N forward passes of one row are one of N rows."""
    made = []
    for length, seed, share in rows:
        ids = torch.randint(3, 60, (length,), generator=torch.Generator().manual_seed(seed)).tolist()
        made.append((ids, [i >= min(int(share * length), length - 1) for i in range(length)]))
    root = tmp_path_factory.mktemp("rows")
    tokens = tiny.make_tokens(root / "tokens", [made])
    spec = SPEC | {"batch_size": len(rows), "max_steps": 1}
    whole = trajectory_of(*case.run(root / "whole", spec, tokens=tokens))
    parts = trajectory_of(*case.run(root / "parts", spec | {"micro_batch_size": 1}, tokens=tokens))
    assert_shared(parts, whole)


def test_the_logged_loss_is_the_real_one(case: Case, tmp_path: Path) -> None:
    """S-MODEL-06: `forward` has `**kwargs` and drops the count. Loss and gradients were four times too large."""
    from transformers import AutoModelForCausalLM, LlamaConfig, LlamaForTokenClassification, Trainer, TrainingArguments

    torch.manual_seed(0)
    model: Any = LlamaForTokenClassification(
        LlamaConfig(**tiny.LLAMA, vocab_size=64, num_labels=2, classifier_dropout=0.0)
    )
    assert not divides_by_items(model)
    assert divides_by_items(AutoModelForCausalLM.from_pretrained(case.model))
    rows = [{"input_ids": torch.arange(i, i + 6), "labels": torch.arange(i, i + 6) % 2} for i in range(4)]
    with torch.no_grad():
        loss = model(**{name: torch.stack([row[name] for row in rows]) for name in rows[0]})
    args = TrainingArguments(
        str(tmp_path), per_device_train_batch_size=1, gradient_accumulation_steps=4, max_steps=1, logging_steps=1,
        use_cpu=True, report_to="none", save_strategy="no", disable_tqdm=True, max_grad_norm=1.0,
    )  # fmt: skip
    trainer = Trainer(model, args, train_dataset=rows)  # type: ignore[arg-type]
    assert trainer.model_accepts_loss_kwargs, "Transformers finds out now: the check can go"
    assert settle_scaling(trainer) == PASS
    trainer.train()
    assert trainer.state.log_history[0]["loss"] == pytest.approx(float(loss.loss), rel=1e-5)
    causal = Trainer(AutoModelForCausalLM.from_pretrained(case.model), args, train_dataset=rows)  # type: ignore[arg-type]
    assert settle_scaling(causal) == STEP
