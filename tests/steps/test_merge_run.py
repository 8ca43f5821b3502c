"""The streaming merge against PEFT's, bit for bit, and the receipt."""

import json
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

import pytest

sys.path.insert(0, str(Path(__file__).parents[1] / "engine"))
import tiny_stack as tiny
import torch
from safetensors.torch import load_file, save_file

from tunekit.engine.loading import load_policy
from tunekit.engine.saving import save_adapter
from tunekit.engine.weights import Slot
from tunekit.errors import ActionError
from tunekit.steps.adapter.spec import Adapter
from tunekit.steps.merge import run as module
from tunekit.steps.merge.lora import LoraMerge
from tunekit.steps.merge.run import run
from tunekit.steps.model.run import run as make_model

pytestmark = pytest.mark.torch
GPT2 = {"model_type": "gpt2", "n_embd": 32, "n_layer": 1, "n_head": 2, "n_positions": 64}
MODELS: dict[str, dict[str, Any]] = {
    "llama": tiny.LLAMA,
    "tied": tiny.LLAMA | {"tie_word_embeddings": True},
    "gpt2": GPT2,
}


@pytest.fixture(scope="module")
def models(tmp_path_factory: pytest.TempPathFactory) -> dict[str, str]:
    root = tmp_path_factory.mktemp("models")
    tokenizer = str(tiny.write_tokenizer(root / "tokenizer"))
    for name, config in MODELS.items():
        spec = {"config": config, "tokenizer": "tokenizer:t"}
        make_model(tiny.request(root / name, "model", spec, tokenizer=tokenizer), tiny.Recorder())
    return {name: str(root / name / "out" / "main") for name in MODELS}


def trained_adapter(root: Path, base: str, adapter: Adapter, size: float = 0.1) -> str:
    """An adapter whose every weight is random, as after training (a fresh one changes nothing)."""
    loaded = load_policy(base, new_adapter=adapter, seed=1)
    with torch.no_grad():
        for parameter in loaded.model.parameters():
            if parameter.requires_grad:
                parameter.add_(torch.randn(parameter.shape) * size)
    (root / "scratch").mkdir(parents=True)
    save_adapter(loaded.model, root / "adapter", root / "scratch", "model:tiny")
    return str(root / "adapter")


def merge(root: Path, base: str, adapter: str, **spec: Any) -> tuple[Path, tiny.Recorder]:
    events = tiny.Recorder()
    req = tiny.request(root, "merge", {"inputs": ["run:x"], **spec}, base=base, adapter=adapter)
    assert run(req, events) == {"main": "main"}
    return Path(req.out) / "main", events


CASES = [
    ("llama", Adapter(r=4, alpha=8), "stream"),
    ("llama", Adapter(r=4, alpha=8, use_rslora=True, target_modules=["q_proj", "down_proj"]), "stream"),
    ("llama", Adapter(r=4, alpha=8, target_modules=["embed_tokens", "q_proj"], modules_to_save=["lm_head"]), "stream"),
    ("gpt2", Adapter(r=4, alpha=8, target_modules=["c_attn"], bias="all"), "stream"),
    ("llama", Adapter(r=4, alpha=8, use_dora=True), "peft"),
]


@pytest.mark.filterwarnings("ignore:fan_in_fan_out", "ignore:Model has")
@pytest.mark.parametrize(("model", "adapter", "by"), CASES, ids=["lora", "rslora", "embedding", "fan-in", "dora"])
def test_merge_is_pefts(tmp_path: Path, models: dict[str, str], model: str, adapter: Adapter, by: str) -> None:
    trained = trained_adapter(tmp_path, models[model], adapter)
    out, events = merge(tmp_path, models[model], trained)
    reference: Any = load_policy(models[model], trained, trainable=False).model
    wanted = reference.merge_and_unload().state_dict()
    found = load_file(out / "model.safetensors")
    for name, tensor in found.items():
        assert torch.equal(tensor, wanted[name]), name
    assert events.settings["merged_by"] == by and found.keys() <= wanted.keys()
    assert len(events.of("gate")) == 3 and all(gate["passed"] for gate in events.of("gate"))
    assert events.settings["summary"]["max_logit_difference"] < 1e-4
    assert {"config.json", "tokenizer.json", "model.safetensors"} <= set(tiny.tree(out))


@pytest.mark.filterwarnings("ignore:Model has", "ignore:.*tied")
@pytest.mark.parametrize(
    "adapter",
    [
        Adapter(r=4, target_modules=["q_proj"], modules_to_save=["lm_head"]),
        Adapter(r=4, target_modules=["q_proj"], modules_to_save=["embed_tokens"]),
        Adapter(r=4, target_modules=["q_proj", "embed_tokens"]),
    ],
    ids=["saved-head", "saved-input", "lora-input"],
)
def test_tied_embeddings_are_untied(tmp_path: Path, models: dict[str, str], adapter: Adapter) -> None:
    out, events = merge(tmp_path, models["tied"], trained_adapter(tmp_path, models["tied"], adapter))
    assert json.loads((out / "config.json").read_text())["tie_word_embeddings"] is False
    assert "lm_head.weight" in load_file(out / "model.safetensors")
    assert events.settings["summary"]["max_logit_difference"] < 1e-4


def test_tied_embeddings_stay_tied(tmp_path: Path, models: dict[str, str]) -> None:
    out, _ = merge(tmp_path, models["tied"], trained_adapter(tmp_path, models["tied"], Adapter(r=4)))
    assert json.loads((out / "config.json").read_text())["tie_word_embeddings"] is True
    assert "lm_head.weight" not in load_file(out / "model.safetensors")


def test_dtype(tmp_path: Path, models: dict[str, str]) -> None:
    out, events = merge(
        tmp_path, models["llama"], trained_adapter(tmp_path, models["llama"], Adapter(r=4)), dtype="bfloat16"
    )
    assert {t.dtype for t in load_file(out / "model.safetensors").values()} == {torch.bfloat16}
    assert events.settings["dtype"] == ["bfloat16"]
    assert 0 < events.settings["summary"]["max_logit_difference"] < 5e-2


DEEP = tiny.LLAMA | {"num_hidden_layers": 30}


class Deep(NamedTuple):
    """30 layers in bfloat16, with large activations as trained ones have, and an adapter of them."""

    base: str
    adapter: str


@pytest.fixture(scope="module")
def deep(tmp_path_factory: pytest.TempPathFactory) -> Deep:
    root = tmp_path_factory.mktemp("deep")
    tokenizer = str(tiny.write_tokenizer(root / "tokenizer"))
    spec = {"config": DEEP, "tokenizer": "tokenizer:t"}
    make_model(tiny.request(root, "model", spec, tokenizer=tokenizer), tiny.Recorder())
    base = root / "out" / "main"
    tensors = load_file(base / "model.safetensors")
    for name, tensor in tensors.items():
        tensors[name] = (tensor * (1 if "norm" in name else 12)).bfloat16()
    save_file(tensors, base / "model.safetensors", {"format": "pt"})
    return Deep(str(base), trained_adapter(root, str(base), Adapter(r=4, alpha=8), 0.003))


def test_a_deep_merge_in_bfloat16_passes(tmp_path: Path, deep: Deep) -> None:
    """Its logits move by more than a bound for all models could allow: by rounding, which is measured beside it."""
    out, events = merge(tmp_path, deep.base, deep.adapter)
    assert {t.dtype for t in load_file(out / "model.safetensors").values()} == {torch.bfloat16}
    found = events.settings["summary"] | events.settings["receipt"]
    assert found["max_logit_difference"] > 0.05 and found["float32_logit_difference"] < 1e-3
    assert found["max_logit_difference"] == pytest.approx(found["rounding_logit_difference"], rel=0.5)
    assert found["weight_difference"] < 0.5
    bounds = {gate["name"]: gate["wanted"] for gate in events.of("gate")}
    assert bounds.keys() == {"float32_logit_difference", "weight_difference", "max_logit_difference"}
    assert bounds["max_logit_difference"] == f"<= {found['bounds']['max_logit_difference']:.3g}"


def without(made: Any, ending: str) -> Any:
    (name,) = (name for name in made.updates if name.endswith(ending))
    return made._replace(updates={key: value for key, value in made.updates.items() if key != name})


def transposed(made: Any, ending: str) -> Any:
    (name,) = (name for name in made.updates if name.endswith(ending))
    return made._replace(updates=made.updates | {name: made.updates[name]._replace(transposed=True)})


WRONG: dict[str, Callable[[Any], Any]] = {
    "scale": lambda made: made._replace(scaling=made.scaling * 2),
    "slightly-scaled": lambda made: made._replace(scaling=made.scaling * 1.25),
    "module-left-out": lambda made: without(made, "layers.17.self_attn.q_proj.weight"),
    "transposed": lambda made: transposed(made, "layers.17.self_attn.q_proj.weight"),
}


@pytest.mark.parametrize("wrong", WRONG.values(), ids=WRONG)
def test_a_wrong_merge_in_bfloat16_does_not_pass(
    tmp_path: Path, deep: Deep, monkeypatch: pytest.MonkeyPatch, wrong: Callable[[Any], Any]
) -> None:
    plan = module.plan
    monkeypatch.setattr(module, "plan", lambda *a: wrong(plan(*a)))
    with pytest.raises(ActionError, match="is not the rounded sum") as found:
        merge(tmp_path, deep.base, deep.adapter)
    assert found.value.slug == "merge-differs"


def test_a_weight_that_the_adapter_leaves_alone_must_not_change(
    tmp_path: Path, deep: Deep, monkeypatch: pytest.MonkeyPatch
) -> None:
    """By one value in one tensor, which no logit shows."""
    tensor = LoraMerge.tensor

    def off(self: LoraMerge, slot: Slot) -> torch.Tensor:
        value = tensor(self, slot)
        if slot.name.endswith("layers.3.input_layernorm.weight"):
            value[0] *= 1.01
        return value

    monkeypatch.setattr(LoraMerge, "tensor", off)
    with pytest.raises(ActionError, match=r"layers\.3\.input_layernorm\.weight is not"):
        merge(tmp_path, deep.base, deep.adapter)


@pytest.mark.filterwarnings("ignore:Model has")
def test_pefts_own_merge_in_bfloat16_passes(tmp_path: Path, deep: Deep) -> None:
    """DoRA rounds at every operation."""
    adapter = trained_adapter(tmp_path, deep.base, Adapter(r=4, alpha=8, use_dora=True), 0.003)
    _, events = merge(tmp_path, deep.base, adapter)
    assert events.settings["merged_by"] == "peft" and all(gate["passed"] for gate in events.of("gate"))


def test_a_wrong_merge_does_not_pass(tmp_path: Path, models: dict[str, str], monkeypatch: pytest.MonkeyPatch) -> None:
    plan = module.plan
    monkeypatch.setattr(module, "plan", lambda *a: (made := plan(*a))._replace(scaling=made.scaling * 2))
    trained = trained_adapter(tmp_path, models["llama"], Adapter(r=4))
    with pytest.raises(ActionError, match="logits differ") as found:
        merge(tmp_path, models["llama"], trained)
    assert found.value.slug == "merge-differs"


def test_adapter_of_another_model(tmp_path: Path, models: dict[str, str]) -> None:
    trained = trained_adapter(tmp_path, models["gpt2"], Adapter(r=4, target_modules=["c_proj"]))
    with pytest.raises(ActionError) as found:
        merge(tmp_path, models["llama"], trained)
    assert found.value.slug == "merge-no-base-weight"
