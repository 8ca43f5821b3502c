"""Runs with every kind of adapter: they learn, they resume to the bit, they are continued."""

import sys
from pathlib import Path
from typing import Any

import pytest

sys.path.insert(0, str(Path(__file__).parents[2] / "engine"))
sys.path.insert(0, str(Path(__file__).parent))
import tiny_stack as tiny
import torch
from adapter_models import make_models
from safetensors.torch import load_file
from sft_runs import Case

from tunekit.engine import quantization
from tunekit.methods.sft.run import run
from tunekit.steps.merge.run import run as merge

pytestmark = [pytest.mark.torch, pytest.mark.filterwarnings("ignore:Model has", "ignore:.*tied")]
SPEC: dict[str, Any] = {
    "model": "model:m",
    "data": ["dataset:a"],
    "batch_size": 4,
    "max_steps": 5,
    "learning_rate": 1e-2,
    "checkpoint_steps": 2,
}
LORA = {"method": "lora", "r": 4, "alpha": 8}
NF4 = LORA | {"quantize": "nf4", "dropout": 0.1}


@pytest.fixture(scope="module")
def case(tmp_path_factory: pytest.TempPathFactory) -> Case:
    return Case(tmp_path_factory.mktemp("adapters"))


@pytest.fixture(scope="module")
def qlora(case: Case, tmp_path_factory: pytest.TempPathFactory) -> tuple[dict[str, Path], tiny.Recorder]:
    spec = SPEC | {"adapter": NF4, "eval_data": ["dataset:b"], "eval_steps": 2}
    return case.run(tmp_path_factory.mktemp("qlora"), spec)


def test_qlora(qlora: tuple[dict[str, Path], tiny.Recorder]) -> None:
    outputs, events = qlora
    assert set(tiny.tree(outputs["main"])) == {"adapter_config.json", "adapter_model.safetensors", quantization.FILE}
    assert tiny.tree(outputs["best"]).keys() == tiny.tree(outputs["main"]).keys()
    assert events.settings["dtype"] == {"frozen": "float32, uint8", "trained": "float32"}
    assert events.settings["quantization"] == {
        "scheme": "nf4", "dtype": "float32", "double_quant": True, "blocksize": 64, "modules": 14,
    }  # fmt: skip
    assert events.settings["trainable"]["of"] == 39264, "4-bit weights count as weights, not as bytes"


def test_an_interrupted_qlora_is_the_straight_one(
    case: Case, qlora: tuple[dict[str, Path], tiny.Recorder], tmp_path: Path
) -> None:
    """To the bit, across an evaluation, which some CPUs' fast path would let change the weights."""
    spec = SPEC | {"adapter": NF4, "eval_data": ["dataset:b"], "eval_steps": 2}
    with pytest.raises(KeyboardInterrupt):
        run(case.request(tmp_path, spec), tiny.Interrupted(4))
    outputs, events = case.run(tmp_path, spec)
    assert events.settings["resumed_from_step"] == 2
    assert tiny.tree(outputs["last"]) == tiny.tree(qlora[0]["last"])
    assert tiny.tree(outputs["best"]) == tiny.tree(qlora[0]["best"])
    assert events.metrics == qlora[1].metrics


@pytest.mark.parametrize("init", ["pissa", "loftq"])
def test_an_interrupted_init_is_the_straight_one(case: Case, tmp_path: Path, init: str) -> None:
    """What the base gave to the adapter is found again."""
    spec = SPEC | {"adapter": LORA | {"init": init, **({"quantize": "nf4"} if init == "loftq" else {})}}
    straight, _ = case.run(tmp_path / "straight", spec)
    with pytest.raises(KeyboardInterrupt):
        run(case.request(tmp_path, spec), tiny.Interrupted(4))
    outputs, events = case.run(tmp_path, spec)
    assert events.settings["resumed_from_step"] == 2
    assert tiny.tree(outputs["main"]) == tiny.tree(straight["main"])


def test_a_quantized_adapter_is_continued_and_merged(
    case: Case, qlora: tuple[dict[str, Path], tiny.Recorder], tmp_path: Path
) -> None:
    """Continued on the base in 4 bits, without saying so again; merged in full precision."""
    first = qlora[0]["main"]
    outputs, events = case.run(tmp_path, SPEC | {"max_steps": 1, "learning_rate": 1e-6}, adapter=str(first))
    assert events.settings["quantization"]["scheme"] == "nf4"
    assert (outputs["main"] / quantization.FILE).read_bytes() == (first / quantization.FILE).read_bytes()
    before, after = (load_file(p / "adapter_model.safetensors") for p in (first, outputs["main"]))
    assert 0 < max((before[k] - after[k]).abs().max().item() for k in before) < 1e-4
    done = tiny.Recorder()
    req = tiny.request(
        tmp_path / "merge", "merge", {"inputs": ["run:x"]}, base=case.model, adapter=str(outputs["main"])
    )
    merge(req, done)
    assert done.settings["simulated_nf4"]["modules"] == 14 and done.settings["dtype"] == ["float32"]
    # `run:y#base`: a new adapter is trained on it
    _, again = case.run(tmp_path / "on-top", SPEC | {"max_steps": 1, "adapter": LORA}, base=str(Path(req.out) / "main"))
    assert "quantization" not in again.settings


def test_chosen_parameters(case: Case, tmp_path: Path) -> None:
    outputs, events = case.run(tmp_path, SPEC | {"train_parameters": [r"model\.layers\.1\.mlp\..*"]})
    assert set(events.settings["trainable"]["names"]) == {
        f"model.layers.*.mlp.{n}_proj.weight" for n in ("gate", "up", "down")
    }
    before, after = load_file(Path(case.model) / "model.safetensors"), load_file(outputs["main"] / "model.safetensors")
    changed = {name for name in before if not torch.equal(before[name], after[name])}
    assert changed == {f"model.layers.1.mlp.{n}_proj.weight" for n in ("gate", "up", "down")}


def test_experts(case: Case, tmp_path: Path) -> None:
    base = make_models(tmp_path / "models", "mixtral")["mixtral"]
    adapter = LORA | {"target_modules": [], "target_parameters": ["experts.gate_up_proj", "experts.down_proj"]}
    outputs, events = case.run(tmp_path, SPEC | {"adapter": adapter}, base=base)
    tensors = load_file(outputs["main"] / "adapter_model.safetensors")
    assert events.settings["trainable"]["parameters"] == sum(t.numel() for t in tensors.values())
    learnt = {name: float(t.abs().max()) for name, t in tensors.items() if ".lora_B." in name}
    assert len(learnt) == 4 and min(learnt.values()) > 1e-3, "B starts from zero"
