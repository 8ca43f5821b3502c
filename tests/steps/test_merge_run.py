"""The streaming merge against PEFT's, bit for bit, and the receipt."""

import json
import sys
from pathlib import Path
from typing import Any

import pytest

sys.path.insert(0, str(Path(__file__).parents[1] / "engine"))
import tiny_stack as tiny
import torch
from safetensors.torch import load_file

from tunekit.engine.loading import load_policy
from tunekit.engine.saving import save_adapter
from tunekit.errors import ActionError
from tunekit.steps.adapter.spec import Adapter
from tunekit.steps.merge import run as module
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


def trained_adapter(root: Path, base: str, adapter: Adapter) -> str:
    """An adapter whose every weight is random, as after training (a fresh one changes nothing)."""
    loaded = load_policy(base, new_adapter=adapter, seed=1)
    with torch.no_grad():
        for parameter in loaded.model.parameters():
            if parameter.requires_grad:
                parameter.add_(torch.randn(parameter.shape) * 0.1)
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
    (gate,) = events.of("gate")
    assert gate["passed"] and gate["measured"] < 1e-4
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
    assert events.of("gate")[0]["measured"] < 1e-4


def test_tied_embeddings_stay_tied(tmp_path: Path, models: dict[str, str]) -> None:
    out, _ = merge(tmp_path, models["tied"], trained_adapter(tmp_path, models["tied"], Adapter(r=4)))
    assert json.loads((out / "config.json").read_text())["tie_word_embeddings"] is True
    assert "lm_head.weight" not in load_file(out / "model.safetensors")


def test_dtype(tmp_path: Path, models: dict[str, str]) -> None:
    out, events = merge(
        tmp_path, models["llama"], trained_adapter(tmp_path, models["llama"], Adapter(r=4)), dtype="bfloat16"
    )
    assert {t.dtype for t in load_file(out / "model.safetensors").values()} == {torch.bfloat16}
    assert events.settings["dtype"] == ["bfloat16"] and 0 < events.of("gate")[0]["measured"] < 5e-2


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
