"""Declared adapters against PEFT called by hand: the same loss and gradients; and that what is named is trained."""

import sys
from pathlib import Path
from typing import Any

import pytest

sys.path.insert(0, str(Path(__file__).parent))
import tiny_stack as tiny
import torch
from adapter_models import make_models
from peft import LoraConfig, get_peft_model
from transformers import AutoConfig, AutoModelForCausalLM, BitsAndBytesConfig

from tunekit.engine import quantization
from tunekit.engine.effective import trainable
from tunekit.engine.loading import keep_precision, load_policy
from tunekit.engine.saving import save_policy
from tunekit.engine.targets import check_targets, check_trained, select_parameters, towers
from tunekit.errors import ActionError
from tunekit.steps.adapter.spec import Adapter

pytestmark = [
    pytest.mark.torch,
    pytest.mark.filterwarnings("ignore:fan_in_fan_out", "ignore:Model has", "ignore:.*tied", "ignore:Using Rank"),
]
IDS = torch.tensor([[5, 9, 3, 7, 11, 6], [8, 4, 20, 21, 5, 9]])
LINEAR = ["q_proj", "k_proj", "v_proj", "o_proj", "gate_proj", "up_proj", "down_proj"]


@pytest.fixture(scope="module")
def models(tmp_path_factory: pytest.TempPathFactory) -> dict[str, str]:
    return make_models(tmp_path_factory.mktemp("models"), "llama", "tied", "gpt2", "mixtral", "gpt_oss")


def gradients(model: Any) -> tuple[torch.Tensor, dict[str, torch.Tensor]]:
    """Loss and gradients after every trained weight was moved, by the same steps for the same names."""
    generator = torch.Generator().manual_seed(5)
    with torch.no_grad():
        for _, p in sorted(model.named_parameters()):
            if p.requires_grad:
                p.add_(0.05 * torch.randn(p.shape, generator=generator))
    model.train()
    torch.manual_seed(0)  # dropout of the base
    loss = model(input_ids=IDS, labels=IDS).loss
    loss.backward()
    return loss.detach(), {n: p.grad for n, p in model.named_parameters() if p.grad is not None}


NF4 = BitsAndBytesConfig(
    load_in_4bit=True,
    bnb_4bit_quant_type="nf4",
    bnb_4bit_use_double_quant=True,
    bnb_4bit_compute_dtype=torch.float32,
)
CASES: dict[str, tuple[str, Adapter, dict[str, Any], Any]] = {
    "lora": ("llama", Adapter(r=4, alpha=8), {"target_modules": LINEAR}, None),
    "regex": (
        "llama",
        Adapter(r=4, target_modules=r".*\.(q|v)_proj"),
        {"lora_alpha": 32, "target_modules": ["q_proj", "v_proj"]},
        None,
    ),
    "rslora": ("llama", Adapter(r=4, alpha=8, use_rslora=True), {"target_modules": LINEAR, "use_rslora": True}, None),
    "dora": ("llama", Adapter(r=4, alpha=8, use_dora=True), {"target_modules": LINEAR, "use_dora": True}, None),
    "patterns": (
        "llama",
        Adapter(r=4, alpha=8, target_modules=LINEAR, rank_pattern={"o_proj": 2}, alpha_pattern={r"layers\.1\..*": 3.5}),
        {"target_modules": LINEAR, "rank_pattern": {"o_proj": 2}, "alpha_pattern": {r"layers\.1\..*": 3.5}},
        None,
    ),
    "layers": (
        "llama",
        Adapter(r=4, alpha=8, target_modules=["q_proj"], layers_to_transform=[1]),
        {"target_modules": ["q_proj"], "layers_to_transform": [1]},
        None,
    ),
    "saved": (
        "llama",
        Adapter(r=4, alpha=8, target_modules=["q_proj"], modules_to_save=["lm_head"]),
        {"target_modules": ["q_proj"], "modules_to_save": ["lm_head"]},
        None,
    ),
    "gaussian": (
        "llama",
        Adapter(r=4, alpha=8, init="gaussian"),
        {"target_modules": LINEAR, "init_lora_weights": "gaussian"},
        None,
    ),
    "pissa": (
        "llama",
        Adapter(r=4, alpha=8, init="pissa"),
        {"target_modules": LINEAR, "init_lora_weights": "pissa"},
        None,
    ),
    "olora": (
        "llama",
        Adapter(r=4, alpha=8, init="olora"),
        {"target_modules": LINEAR, "init_lora_weights": "olora"},
        None,
    ),
    "fan-in": (
        "gpt2",
        Adapter(r=4, alpha=8, target_modules=["c_attn"], bias="all"),
        {"target_modules": ["c_attn"], "bias": "all", "fan_in_fan_out": True},
        None,
    ),
    "experts": (
        "mixtral",
        Adapter(
            r=4, alpha=8, target_modules=["q_proj"], target_parameters=["experts.gate_up_proj", "experts.down_proj"]
        ),
        {"target_modules": ["q_proj"], "target_parameters": ["experts.gate_up_proj", "experts.down_proj"]},
        None,
    ),
    "qlora": ("llama", Adapter(r=4, alpha=8, quantize="nf4"), {"target_modules": LINEAR}, NF4),
    "int8": (
        "llama",
        Adapter(r=4, alpha=8, quantize="int8"),
        {"target_modules": LINEAR},
        BitsAndBytesConfig(load_in_8bit=True),
    ),
}


@pytest.mark.parametrize("case", CASES)
def test_adapter_is_pefts(models: dict[str, str], case: str) -> None:
    name, adapter, settings, bits = CASES[case]
    ours = load_policy(models[name], new_adapter=adapter, seed=3)
    more = {"quantization_config": bits} if bits else {}
    base = AutoModelForCausalLM.from_pretrained(models[name], dtype=torch.float32, **more)
    torch.manual_seed(3)
    theirs = get_peft_model(base, LoraConfig(task_type="CAUSAL_LM", **({"r": 4, "lora_alpha": 8} | settings)))
    (loss, found), (wanted_loss, wanted) = gradients(ours.model), gradients(theirs)
    assert torch.equal(loss, wanted_loss) and found.keys() == wanted.keys() and found
    for weight in found:
        assert torch.equal(found[weight], wanted[weight]), weight


def test_what_is_trained_is_recorded(models: dict[str, str]) -> None:
    loaded = load_policy(models["llama"], new_adapter=Adapter(r=4, target_modules=["q_proj"], layers_to_transform=[1]))
    found = trainable(loaded.model)
    names = {name.rpartition("self_attn.")[2]: n for name, n in found["names"].items()}
    assert names == {"q_proj.lora_A.default.weight": 1, "q_proj.lora_B.default.weight": 1}
    assert found["parameters"] == 4 * (64 + 64)


def test_train_parameters(models: dict[str, str]) -> None:
    loaded = load_policy(models["llama"], train_parameters=[r"model\.layers\.1\..*", r"lm_head\.weight"])
    trained = {n for n, p in loaded.model.named_parameters() if p.requires_grad}
    assert "lm_head.weight" in trained and "model.layers.1.mlp.up_proj.weight" in trained
    assert not any(n.startswith(("model.layers.0", "model.embed", "model.norm")) for n in trained)
    for pattern in ("layers.1", r"model\.layers\.1"):  # parts of names match nothing
        with pytest.raises(ActionError, match="matches the whole name of nothing") as found:
            load_policy(models["llama"], train_parameters=[pattern])
        assert found.value.slug == "no-such-parameter" and "model.layers" in found.value.hint
    with pytest.raises(ActionError, match="not a regular expression"):
        select_parameters(loaded.base, ["("])
    # a raw dot is any character, as in every regex
    assert load_policy(models["llama"], train_parameters=["lm_head.weight"]).model.lm_head.weight.requires_grad  # type: ignore[union-attr, operator]


def test_the_trained_set_is_checked(models: dict[str, str]) -> None:
    loaded = load_policy(models["llama"], new_adapter=Adapter(r=4))
    check_trained(loaded.model, True, "none", None)
    next(loaded.base.parameters()).requires_grad_(True)
    with pytest.raises(ActionError) as found:
        check_trained(loaded.model, True, "none", None)
    assert found.value.slug == "trained-set-differs"


@pytest.mark.parametrize(
    "adapter",
    [
        Adapter(target_modules=["q_prj"]),
        Adapter(target_modules=r"model\.layers\.\d+\.q_proj"),
        Adapter(target_modules="("),
        Adapter(modules_to_save=["head"]),
        Adapter(target_modules=[], target_parameters=["mlp.experts.gate_up_proj"]),
        Adapter(rank_pattern={"q_prj": 3}),
        Adapter(alpha_pattern={"(": 3}),
    ],
)
def test_names_that_match_nothing(models: dict[str, str], adapter: Adapter) -> None:
    with pytest.raises(ActionError) as found:
        load_policy(models["llama"], new_adapter=adapter)
    assert found.value.slug == "no-target-modules"


@pytest.fixture(scope="module")
def gemma() -> Any:
    text = {k: v for k, v in tiny.LLAMA.items() if k != "model_type"} | {"vocab_size": 100, "head_dim": 8}
    vision = {"hidden_size": 32, "intermediate_size": 64, "num_hidden_layers": 1, "num_attention_heads": 2}
    config = AutoConfig.for_model("gemma3", text_config=text, vision_config=vision)
    with torch.device("meta"):
        return AutoModelForCausalLM.from_config(config)


def test_a_vision_tower_must_be_asked_for(gemma: Any) -> None:
    assert towers(gemma) == ["model.vision_tower", "model.multi_modal_projector"]
    for adapter in (Adapter(), Adapter(target_modules=["q_proj"]), Adapter(target_modules=r".*q_proj")):
        with pytest.raises(ActionError, match="vision_tower") as found:
            check_targets(gemma, adapter)
        assert found.value.slug == "vision-tower-trained"
    check_targets(gemma, Adapter(target_modules=r"model\.language_model\..*q_proj"))
    check_targets(gemma, Adapter(target_modules=r"model\.(language_model|vision_tower)\..*q_proj"))
    with pytest.raises(ActionError, match="training all weights"):
        select_parameters(gemma, None)
    select_parameters(gemma, [r"model\.language_model\..*"])
    assert not any(p.requires_grad for n, p in gemma.named_parameters() if "language_model" not in n)


@pytest.mark.parametrize(
    ("settings", "key"),
    [
        ({"target_modules": []}, "target_modules"),
        ({"target_parameters": ["a"], "dropout": 0.1}, "dropout"),
        ({"target_parameters": ["a"], "use_dora": True}, "use_dora"),
        ({"layers_to_transform": [1]}, "layers_to_transform"),
        ({"double_quant": False}, "double_quant"),
        ({"init": "loftq"}, "init"),
        ({"init": "pissa", "quantize": "nf4"}, "init"),
        ({"init": "olora", "use_dora": True}, "init"),
    ],
)
def test_settings_that_exclude_each_other(settings: dict[str, Any], key: str) -> None:
    assert [name for name, _, _ in Adapter(**settings).checks()] == [key]


@pytest.mark.parametrize("init", ["pissa", "pissa_niter_16", "olora"])
@pytest.mark.parametrize("rslora", [False, True])
def test_what_moved_is_stored_for_the_base_as_it_was(
    models: dict[str, str], tmp_path: Path, init: Any, rslora: bool
) -> None:
    """Trained on a base that gave a part of itself away; stored so that it computes the same on the original base."""
    adapter = Adapter(
        r=4,
        alpha=6,
        init=init,
        use_rslora=rslora,
        target_modules=LINEAR,
        rank_pattern={"q_proj": 2},
        alpha_pattern={"v_proj": 3},
    )
    loaded = load_policy(models["llama"], new_adapter=adapter, seed=3)
    original = load_policy(models["llama"], trainable=False).model
    name = "model.layers.0.self_attn.k_proj"
    changed = loaded.base.get_submodule(name).get_base_layer().weight  # type: ignore[operator]
    assert not torch.allclose(changed, original.get_submodule(name).weight, atol=1e-3)
    torch.testing.assert_close(loaded.model(IDS).logits, original(IDS).logits, atol=1e-5, rtol=1e-5)
    gradients(loaded.model)  # moves its weights
    save_policy(loaded, models["llama"], tmp_path / "out", tmp_path)
    again = load_policy(models["llama"], str(tmp_path / "out"), trainable=False).model
    wanted = loaded.model.eval()(IDS).logits
    torch.testing.assert_close(again(IDS).logits, wanted, atol=1e-5, rtol=1e-5)
    assert (wanted - original(IDS).logits).abs().max() > 1e-2
    config = again.peft_config["default"]
    assert config.r == 8 and config.init_lora_weights is True and config.rank_pattern == {"q_proj": 4}


def test_what_moves_needs_float32(models: dict[str, str]) -> None:
    with pytest.raises(ActionError) as found:
        load_policy(models["llama"], new_adapter=Adapter(init="pissa"), dtype="bfloat16")
    assert found.value.slug == "init-needs-float32"


@torch.no_grad()
def test_loftq_makes_up_for_what_was_lost(models: dict[str, str]) -> None:
    """At any scale, and more with a higher rank."""
    original = load_policy(models["llama"], trainable=False).model(IDS).logits
    off = {}
    for rank, init in ((8, "default"), (8, "loftq"), (32, "loftq")):
        adapter = Adapter(r=rank, alpha=24, quantize="nf4", init=init)  # type: ignore[arg-type]
        off[rank, init] = float((load_policy(models["llama"], new_adapter=adapter).model(IDS).logits - original).norm())
    assert off[32, "loftq"] < 0.6 * off[8, "default"] and off[8, "loftq"] < 0.95 * off[8, "default"]


@pytest.mark.parametrize("scheme", ["nf4", "int8"])
def test_a_quantized_base_is_quantized_again(models: dict[str, str], tmp_path: Path, scheme: Any) -> None:
    loaded = load_policy(models["llama"], new_adapter=Adapter(r=4, quantize=scheme, double_quant=scheme == "nf4"))
    gradients(loaded.model)
    save_policy(loaded, models["llama"], tmp_path / "out", tmp_path)
    how = quantization.stored(tmp_path / "out")
    assert how is not None and how == loaded.quantization
    assert len(how.modules) == 14 and "lm_head" not in how.modules and how.scheme == scheme
    again = load_policy(models["llama"], str(tmp_path / "out"))
    assert again.quantization == how
    assert torch.equal(again.model.train()(IDS).logits, loaded.model.train()(IDS).logits)


def test_evaluating_changes_no_layer_in_4_bits(models: dict[str, str]) -> None:
    """bitsandbytes repacks layers for inference on some CPUs; training went on without their gradients."""
    loaded = load_policy(models["llama"], new_adapter=Adapter(r=4, quantize="nf4"))
    before = loaded.model.train()(IDS).logits
    with torch.no_grad():
        loaded.model.eval()(IDS)
    assert torch.equal(loaded.model.train()(IDS).logits, before)
    _, found = gradients(loaded.model)
    assert any("layers.0" in name and grad.abs().sum() > 0 for name, grad in found.items())


def test_the_adapter_of_a_quantized_base_keeps_its_precision(models: dict[str, str]) -> None:
    loaded = load_policy(models["llama"], new_adapter=Adapter(r=4, quantize="nf4"))
    trained = [p for p in loaded.model.parameters() if p.requires_grad]
    before = [p.detach().clone() for p in trained]
    for p in trained:
        p.data = p.data.bfloat16()  # as TRL does
    assert keep_precision(loaded) and all(torch.equal(p, b) for p, b in zip(trained, before, strict=True))


@pytest.mark.parametrize("text", ["{}", '{"scheme": "fp4"}', "[]", "\x00"])
def test_a_broken_record_of_quantization_is_refused(tmp_path: Path, text: str) -> None:
    (tmp_path / quantization.FILE).write_text(text)
    with pytest.raises(ActionError) as found:
        quantization.stored(tmp_path)
    assert found.value.slug == "bad-adapter"


def test_without_bitsandbytes(models: dict[str, str], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "bitsandbytes", None)
    with pytest.raises(ActionError, match="needs bitsandbytes") as found:
        load_policy(models["llama"], new_adapter=Adapter(quantize="nf4"))
    assert found.value.slug == "no-bitsandbytes" and ".[quant]" in found.value.hint
