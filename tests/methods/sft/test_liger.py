"""`loss_kernel = "liger"`: the same training, by another kernel (in triton's interpreter, where there is no GPU)."""

import sys
from pathlib import Path
from typing import Any

import pytest

sys.path.insert(0, str(Path(__file__).parents[2] / "engine"))
sys.path.insert(0, str(Path(__file__).parents[2] / "invariants"))
sys.path.insert(0, str(Path(__file__).parent))
import tiny_stack as tiny
import torch
from sft_runs import LORA, Case
from trajectory import assert_shared, trajectory_of

from tunekit.errors import ActionError
from tunekit.methods.sft.run import run, train_sft
from tunekit.methods.sft.spec import Sft
from tunekit.methods.sft.trainer import TokenLossTrainer

pytestmark = pytest.mark.torch
pytest.importorskip("liger_kernel")
SPEC: dict[str, Any] = {
    "model": "model:m",
    "data": ["dataset:a"],
    "batch_size": 4,
    "max_steps": 2,
    "learning_rate": 0.5,
    "optimizer": "sgd",
    "lr_scheduler": "constant",
    "sequence_len": 64,
}
LIGER = {"loss_kernel": "liger"}


@pytest.fixture(scope="module")
def case(tmp_path_factory: pytest.TempPathFactory) -> Case:
    return Case(tmp_path_factory.mktemp("liger"))


@pytest.mark.parametrize(
    "change", [{"micro_batch_size": 2}, {"packing": True, "batch_size": 2, "adapter": LORA | {"dropout": 0.0}}]
)
def test_one_trajectory(case: Case, tmp_path: Path, change: dict[str, Any]) -> None:
    plain = trajectory_of(*case.run(tmp_path / "plain", SPEC | change))
    outputs, events = case.run(tmp_path / "liger", SPEC | change | LIGER)
    assert_shared(trajectory_of(outputs, events), plain, tolerance=1e-4)
    told = events.settings["fused_loss"]
    assert told["kernel"] == "liger" and told["relative_difference"] < 1e-5
    assert events.settings["loss_kernel"] == "liger"


def test_it_is_called(case: Case, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Asked for and in effect: the logits of a training step are never there."""
    from transformers import LlamaForCausalLM

    heads = []
    linear = torch.nn.Linear.forward
    monkeypatch.setattr(
        torch.nn.Linear, "forward", lambda self, x: (heads.append(self.out_features), linear(self, x))[1]
    )
    case.run(tmp_path, SPEC | LIGER)
    vocabulary = LlamaForCausalLM.from_pretrained(case.model).config.vocab_size
    assert heads.count(vocabulary) == 1, "for the check before the first step alone"


def test_a_model_that_scales_its_logits(case: Case, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from transformers import LlamaForCausalLM

    plain = LlamaForCausalLM.forward

    def scaled(self: Any, *args: Any, **kwargs: Any) -> Any:
        out = plain(self, *args, **kwargs)
        out.logits = out.logits * 3
        return out

    monkeypatch.setattr(LlamaForCausalLM, "forward", scaled)
    with pytest.raises(ActionError, match="where the model's own is") as found:
        case.run(tmp_path, SPEC | LIGER)
    assert found.value.slug == "kernel-not-applied"


def test_a_trainer_with_a_loss_of_its_own(case: Case, tmp_path: Path) -> None:
    class Own(TokenLossTrainer):
        def compute_loss(self, model: Any, inputs: dict[str, Any], *args: Any, **kwargs: Any) -> Any:
            inputs.pop("counts")
            return model(**inputs, use_cache=False).loss

    spec = Sft(**(SPEC | LIGER))
    with pytest.raises(ActionError, match="never asked") as found:
        train_sft(spec, case.request(tmp_path, SPEC | LIGER), tiny.Recorder(), Own)
    assert found.value.slug == "kernel-not-applied"


def test_where_it_cannot_run(case: Case, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("TRITON_INTERPRET")
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    with pytest.raises(ActionError) as found:
        run(case.request(tmp_path, SPEC | LIGER, base="/nowhere"), tiny.Recorder())
    assert found.value.slug == "kernel-not-applied" and "GPU" in found.value.message
    assert [f[0] for f in Sft(**(SPEC | LIGER | {"method": "distill"})).checks()] == ["loss_kernel"]
