"""The streaming merge against PEFT's, bit for bit, and the receipt."""

import json
import shutil
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

import msgspec
import pytest

sys.path.insert(0, str(Path(__file__).parents[1] / "engine"))
import tiny_stack as tiny
import torch
from adapter_models import make_models
from peft import AdaLoraConfig, LoraConfig, VeraConfig, get_peft_model
from safetensors.torch import load_file, save_file
from transformers import AutoModelForCausalLM

from tunekit.engine import weights
from tunekit.engine.loading import load_policy
from tunekit.engine.saving import save_policy
from tunekit.engine.weights import Slot
from tunekit.errors import ActionError
from tunekit.steps.adapter.spec import Adapter
from tunekit.steps.merge import run as module
from tunekit.steps.merge.lora import LoraMerge
from tunekit.steps.merge.run import run
from tunekit.steps.merge.skeleton import META
from tunekit.steps.merge.streamed import Streamed
from tunekit.steps.model.run import run as make_model

pytestmark = [
    pytest.mark.torch,
    pytest.mark.filterwarnings("ignore:fan_in_fan_out", "ignore:Model has", "ignore:.*tied", "ignore:The explicitly"),
]


@pytest.fixture(scope="module")
def models(tmp_path_factory: pytest.TempPathFactory) -> dict[str, str]:
    return make_models(tmp_path_factory.mktemp("models"), "llama", "tied", "gpt2", "mixtral", "gpt_oss")


def trained_adapter(root: Path, base: str, adapter: Adapter, size: float = 0.1, dtype: str = "float32") -> str:
    """An adapter whose every weight is random, as after training (a fresh one changes nothing)."""
    loaded = load_policy(base, new_adapter=adapter, seed=1, dtype=dtype)
    with torch.no_grad():
        for parameter in loaded.model.parameters():
            if parameter.requires_grad:
                parameter.add_(torch.randn(parameter.shape) * size)
    (root / "scratch").mkdir(parents=True)
    save_policy(loaded, base, root / "adapter", root / "scratch", "model:tiny")
    return str(root / "adapter")


def merge(root: Path, base: str, adapter: str, **spec: Any) -> tuple[Path, tiny.Recorder]:
    events = tiny.Recorder()
    req = tiny.request(root, "merge", {"inputs": ["run:x"], **spec}, base=base, adapter=adapter)
    assert run(req, events) == {"main": "main"}
    return Path(req.out) / "main", events


EXPERTS = ["experts.gate_up_proj", "experts.down_proj"]
CASES: dict[str, tuple[str, Adapter]] = {
    "lora": ("llama", Adapter(r=4, alpha=8)),
    "rslora": ("llama", Adapter(r=4, alpha=8, use_rslora=True, target_modules=["q_proj", "down_proj"])),
    "dora": ("llama", Adapter(r=4, alpha=8, use_dora=True)),
    "dora-embedding": ("llama", Adapter(r=4, use_dora=True, target_modules=["embed_tokens", "v_proj"])),
    "patterns": ("llama", Adapter(r=4, alpha=8, rank_pattern={"o_proj": 2}, alpha_pattern={r"layers\.1\..*": 3.5})),
    "embedding": (
        "llama",
        Adapter(r=4, alpha=8, target_modules=["embed_tokens", "q_proj"], modules_to_save=["lm_head"]),
    ),
    "fan-in": ("gpt2", Adapter(r=4, alpha=8, target_modules=["c_attn", "c_proj"], bias="all")),
    "fan-in-dora": ("gpt2", Adapter(r=4, alpha=8, target_modules=["c_attn"], use_dora=True)),
    "tied": ("tied", Adapter(r=4, alpha=8)),
    "experts-apart": ("mixtral", Adapter(r=4, target_modules=["q_proj"], target_parameters=EXPERTS)),
    "experts-apart-one": ("mixtral", Adapter(r=4, target_modules=[], target_parameters=EXPERTS[1:], use_rslora=True)),
    "experts-fused": ("gpt_oss", Adapter(r=4, target_modules=["q_proj"], target_parameters=EXPERTS)),
    "pissa": ("llama", Adapter(r=4, alpha=8, init="pissa")),
}


@pytest.mark.parametrize("dtype", ["float32", "bfloat16"])
@pytest.mark.parametrize("case", CASES)
def test_merge_is_pefts(tmp_path: Path, models: dict[str, str], case: str, dtype: str) -> None:
    """Bit for bit, in the dtype in which the base is stored. In bfloat16, PEFT rounds the update of an embedding or of
    an expert tensor before it adds it; ours is its merge in float32, rounded once."""
    model, adapter = CASES[case]
    base = models[model] if dtype == "float32" else in_bfloat16(tmp_path / "base", models[model])
    trained = trained_adapter(tmp_path, base, adapter)
    out, events = merge(tmp_path, base, trained)
    wanted, found = theirs(tmp_path / "a", base, trained, dtype), load_file(out / "model.safetensors")
    twice = [name for name in found if ".experts." in name or "embed" in name] if dtype == "bfloat16" else []
    once = theirs(tmp_path / "b", base, trained, "float32") if twice else {}
    wanted |= {name: once[name].bfloat16() for name in twice}
    assert found.keys() == wanted.keys()
    for name, tensor in found.items():
        assert tensor.dtype == getattr(torch, dtype) and torch.equal(tensor, wanted[name]), name
    changed = load_file(Path(base) / "model.safetensors")
    assert any(not torch.equal(tensor, changed[name]) for name, tensor in found.items())
    assert events.settings["merged_by"] == "stream" and events.settings["receipt"]["weight_difference"] <= 1
    assert len(events.of("gate")) == 3 and all(gate["passed"] for gate in events.of("gate"))
    assert {"config.json", "tokenizer.json", "model.safetensors"} <= set(tiny.tree(out))


def theirs(root: Path, base: str, adapter: str, dtype: str) -> dict[str, torch.Tensor]:
    model: Any = load_policy(base, adapter, dtype=dtype, trainable=False).model
    model.merge_and_unload().save_pretrained(root)  # which splits experts as the base's files do
    return load_file(root / "model.safetensors")


def in_bfloat16(root: Path, base: str) -> str:
    shutil.copytree(base, root)
    tensors = {name: t.bfloat16() for name, t in load_file(Path(base) / "model.safetensors").items()}
    save_file(tensors, root / "model.safetensors", {"format": "pt"})
    config = json.loads((root / "config.json").read_text())
    (root / "config.json").write_text(json.dumps(config | {"dtype": "bfloat16"}))
    return str(root)


def test_experts_in_several_files(tmp_path: Path, models: dict[str, str], monkeypatch: pytest.MonkeyPatch) -> None:
    """The experts of a layer are one tensor of the model, in several files before and after."""
    trained = trained_adapter(tmp_path, models["mixtral"], CASES["experts-apart"][1])
    one, _ = merge(tmp_path / "one", models["mixtral"], trained)
    base = tmp_path / "base"
    shutil.copytree(models["mixtral"], base)
    (base / "model.safetensors").unlink()
    monkeypatch.setattr(weights, "MAX_SHARD", 200_000)
    slots = weights.slots_of(models["mixtral"])
    weights.write(base, slots.values(), weights.read)
    several, _ = merge(tmp_path / "several", str(base), trained)
    files = sorted(several.glob("*.safetensors"))
    assert len(files) > 2
    found = {name: tensor for file in files for name, tensor in load_file(file).items()}
    wanted = load_file(one / "model.safetensors")
    assert found.keys() == wanted.keys() and all(torch.equal(found[name], wanted[name]) for name in wanted)


@pytest.mark.parametrize("adapter", [Adapter(r=4, alpha=8), Adapter(r=4, use_dora=True)], ids=["lora", "dora"])
@pytest.mark.parametrize("dtype", ["float32", "bfloat16"])
def test_nf4_is_simulated(tmp_path: Path, models: dict[str, str], dtype: str, adapter: Adapter) -> None:
    """What was trained on 4 bits computes the same on its merged base; without the way through NF4 it does not."""
    quantized = msgspec.structs.replace(adapter, quantize="nf4")
    base = models["llama"] if dtype == "float32" else in_bfloat16(tmp_path / "base", models["llama"])
    trained = trained_adapter(tmp_path, base, quantized, dtype=dtype)
    ids = torch.tensor([[5, 9, 3, 7, 11, 6]])
    wanted = load_policy(base, trained, trainable=False).model(ids).logits
    out, events = merge(tmp_path / "with", base, trained)
    assert events.settings["simulated_nf4"]["blocksize"] == 64 and events.settings["merged_by"] == "stream"
    plain, _ = merge(tmp_path / "without", base, trained, simulate_nf4=False)
    off = [float((load_policy(str(o), trainable=False).model(ids).logits - wanted).abs().max()) for o in (out, plain)]
    assert off[0] < (1e-5 if dtype == "float32" else 0.02) and off[1] > 5 * off[0]
    # the untouched head stays as it was, and what no adapter is on went through NF4, too
    before, after = load_file(Path(base) / "model.safetensors"), load_file(out / "model.safetensors")
    assert torch.equal(before["lm_head.weight"], after["lm_head.weight"])


def test_all_that_was_in_4_bits_is_simulated(tmp_path: Path, models: dict[str, str]) -> None:
    trained = trained_adapter(tmp_path, models["gpt2"], Adapter(r=4, target_modules=["c_attn"], quantize="nf4"))
    out, _ = merge(tmp_path, models["gpt2"], trained)
    before, after = (load_file(Path(o) / "model.safetensors") for o in (models["gpt2"], out))
    changed = {name.rpartition("h.0.")[2] for name in before if not torch.equal(before[name], after[name])}
    assert changed == {"attn.c_attn.weight", "attn.c_proj.weight", "mlp.c_fc.weight", "mlp.c_proj.weight"}
    ids = torch.tensor([[5, 9, 3, 7, 11, 6]])
    wanted, found = (
        m(ids).logits
        for m in (
            load_policy(models["gpt2"], trained, trainable=False).model,
            load_policy(str(out), trainable=False).model,
        )
    )
    torch.testing.assert_close(found, wanted, atol=1e-5, rtol=1e-5)


def test_simulating_what_was_not_there(tmp_path: Path, models: dict[str, str]) -> None:
    trained = trained_adapter(tmp_path, models["llama"], Adapter(r=4, quantize="int8"))
    merge(tmp_path / "int8", models["llama"], trained)
    with pytest.raises(ActionError) as found:
        merge(tmp_path, models["llama"], trained, simulate_nf4=True)
    assert found.value.slug == "merge-unsupported"


@pytest.mark.parametrize("kind", ["adalora", "vera"])
def test_other_adapters_are_merged_by_peft(tmp_path: Path, models: dict[str, str], kind: str) -> None:
    base = AutoModelForCausalLM.from_pretrained(models["llama"], dtype=torch.float32)
    configs: dict[str, Any] = {
        "adalora": AdaLoraConfig(init_r=4, target_r=2, total_step=10, tinit=1, tfinal=1, target_modules=["q_proj"]),
        "vera": VeraConfig(r=4, target_modules=["q_proj"]),
    }
    model: Any = get_peft_model(base, configs[kind])
    with torch.no_grad():
        for p in model.parameters():
            if p.requires_grad:
                p.add_(0.1 * torch.randn(p.shape))
    model.save_pretrained(tmp_path / "adapter")
    out, events = merge(tmp_path, models["llama"], str(tmp_path / "adapter"))
    assert events.settings["merged_by"] == "peft" and kind.upper() in events.settings["reason"]
    (warning,) = events.of("warning")
    assert warning["slug"] == "merge-in-memory" and kind.upper() in warning["message"]
    wanted = model.merge_and_unload().state_dict()
    for name, tensor in load_file(out / "model.safetensors").items():
        torch.testing.assert_close(tensor, wanted[name])


def resized(root: Path, base: str, modules: list[str]) -> str:
    """An adapter that PEFT trained on a model with a larger vocabulary."""
    model = AutoModelForCausalLM.from_pretrained(base, dtype=torch.float32)
    model.resize_token_embeddings(272)
    made = get_peft_model(
        model, LoraConfig(task_type="CAUSAL_LM", r=4, target_modules=["q_proj"], modules_to_save=modules)
    )
    with torch.no_grad():
        for p in made.parameters():
            if p.requires_grad:
                p.add_(0.1 * torch.randn(p.shape))
    made.save_pretrained(root / "adapter", save_embedding_layers=False)
    torch.save(made.merge_and_unload().state_dict(), root / "wanted.pt")
    return str(root / "adapter")


def test_a_resized_vocabulary(tmp_path: Path, models: dict[str, str]) -> None:
    trained = resized(tmp_path, models["llama"], ["embed_tokens", "lm_head"])
    out, _ = merge(tmp_path, models["llama"], trained)
    assert json.loads((out / "config.json").read_text())["vocab_size"] == 272
    wanted = torch.load(tmp_path / "wanted.pt", weights_only=True)
    found = load_file(out / "model.safetensors")
    assert found["lm_head.weight"].shape[0] == 272 and all(torch.equal(found[n], wanted[n]) for n in found)
    load_policy(str(out), trainable=False)


def test_half_a_resized_vocabulary(tmp_path: Path, models: dict[str, str]) -> None:
    with pytest.raises(ActionError) as found:
        merge(tmp_path, models["llama"], resized(tmp_path, models["llama"], ["lm_head"]))
    assert found.value.slug == "merge-vocabulary"


def test_nothing_but_a_layer_is_in_memory(
    tmp_path: Path, models: dict[str, str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """While the receipt runs, no two decoder layers have weights."""
    seen: list[int] = []
    asked = Streamed._is_asked

    def counting(self: Streamed, name: str, parameter: torch.Tensor) -> bool:
        layers = {
            n.split(".layers.")[1].split(".")[0]
            for n, p in self._model.named_parameters()
            if ".layers." in n and ".lora_" not in n and p.device != META
        }
        seen.append(len(layers))
        return asked(self, name, parameter)

    monkeypatch.setattr(Streamed, "_is_asked", counting)
    merge(tmp_path, models["llama"], trained_adapter(tmp_path, models["llama"], Adapter(r=4)))
    assert seen and max(seen) <= 1


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
    assert found["weight_difference"] == 0
    bounds = {gate["name"]: gate["wanted"] for gate in events.of("gate")}
    assert bounds.keys() == {"float32_logit_difference", "weight_difference", "max_logit_difference"}
    assert bounds["max_logit_difference"] == f"<= {found['bounds']['max_logit_difference']:.3g}"


def patched(monkeypatch: pytest.MonkeyPatch, change: Callable[[LoraMerge], None]) -> None:
    """The product is made by a merge that is changed first; the receipt makes one of its own."""
    plan, calls = module.plan, []

    def planned(*args: Any) -> LoraMerge:
        made = plan(*args)
        if not calls:
            change(made)
        calls.append(made)
        return made

    monkeypatch.setattr(module, "plan", planned)


def scaled(made: LoraMerge, factor: float) -> None:
    for layer in made.skeleton.layers.values():
        layer.scaling["default"] *= factor


def transposed(made: LoraMerge, name: str) -> None:
    layer = made.skeleton.layers[name]
    layer.fan_in_fan_out = True


Q17 = "model.layers.17.self_attn.q_proj.weight"
WRONG: dict[str, Callable[[LoraMerge], Any]] = {
    "scale": lambda made: scaled(made, 2),
    "slightly-scaled": lambda made: scaled(made, 1.25),
    "module-left-out": lambda made: made.skeleton.layers.pop(Q17),
    "transposed": lambda made: transposed(made, Q17),
}


@pytest.mark.parametrize("wrong", WRONG.values(), ids=WRONG)
def test_a_wrong_merge_in_bfloat16_does_not_pass(
    tmp_path: Path, deep: Deep, monkeypatch: pytest.MonkeyPatch, wrong: Callable[[LoraMerge], Any]
) -> None:
    patched(monkeypatch, wrong)
    with pytest.raises(ActionError, match="is not the rounded sum") as found:
        merge(tmp_path, deep.base, deep.adapter)
    assert found.value.slug == "merge-differs"


def test_a_weight_that_the_adapter_leaves_alone_must_not_change(
    tmp_path: Path, deep: Deep, monkeypatch: pytest.MonkeyPatch
) -> None:
    """By one value in one tensor, which no logit shows."""
    tensor = LoraMerge.tensor

    def off(self: LoraMerge, slot: Slot) -> torch.Tensor | Slot:
        made = tensor(self, slot)
        if isinstance(made, Slot) and slot.name.endswith("layers.3.input_layernorm.weight"):
            value = weights.read(made)
            value[0] *= 1.01
            return value
        return made

    monkeypatch.setattr(LoraMerge, "tensor", off)
    with pytest.raises(ActionError, match=r"layers\.3\.input_layernorm\.weight is not"):
        merge(tmp_path, deep.base, deep.adapter)


def test_dora_in_bfloat16_passes(tmp_path: Path, deep: Deep) -> None:
    adapter = trained_adapter(tmp_path, deep.base, Adapter(r=4, alpha=8, use_dora=True), 0.003)
    _, events = merge(tmp_path, deep.base, adapter)
    assert events.settings["merged_by"] == "stream" and all(gate["passed"] for gate in events.of("gate"))


def test_a_wrong_merge_does_not_pass(tmp_path: Path, models: dict[str, str], monkeypatch: pytest.MonkeyPatch) -> None:
    patched(monkeypatch, lambda made: scaled(made, 2))
    trained = trained_adapter(tmp_path, models["llama"], Adapter(r=4))
    with pytest.raises(ActionError, match="logits differ") as found:
        merge(tmp_path, models["llama"], trained)
    assert found.value.slug == "merge-differs"


def test_adapter_of_another_model(tmp_path: Path, models: dict[str, str]) -> None:
    trained = trained_adapter(tmp_path, models["gpt2"], Adapter(r=4, target_modules=["c_proj"]))
    with pytest.raises(ActionError) as found:
        merge(tmp_path, models["llama"], trained)
    assert found.value.slug == "bad-adapter"
    smaller = str(make_smaller(tmp_path))
    with pytest.raises(ActionError, match="shape") as found:
        merge(tmp_path / "b", smaller, trained_adapter(tmp_path / "c", models["llama"], Adapter(r=4)))
    assert found.value.slug == "bad-adapter"


def make_smaller(root: Path) -> Path:
    tokenizer = str(tiny.write_tokenizer(root / "tokenizer"))
    spec = {"config": tiny.LLAMA, "tokenizer": "tokenizer:t"}
    make_model(tiny.request(root / "smaller", "model", spec, tokenizer=tokenizer), tiny.Recorder())
    return root / "smaller" / "out" / "main"


def test_an_adapter_for_more_layers(tmp_path: Path, models: dict[str, str]) -> None:
    """PEFT would leave them out with a warning."""
    trained = Path(trained_adapter(tmp_path, models["llama"], Adapter(r=4, target_modules=["q_proj"])))
    tensors = load_file(trained / "adapter_model.safetensors")
    tensors |= {name.replace("layers.1.", "layers.2."): t.clone() for name, t in tensors.items() if "layers.1." in name}
    save_file(tensors, trained / "adapter_model.safetensors", {"format": "pt"})
    with pytest.raises(ActionError, match=r"layers\.2") as found:
        merge(tmp_path, models["llama"], str(trained))
    assert found.value.slug == "merge-no-base-weight"
