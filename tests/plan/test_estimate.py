"""Estimates without torch: known models, the tables of the specification, damaged headers, projects."""

from __future__ import annotations

import io
import json

import numpy as np
import pytest
from safetensors.numpy import save

from tunekit.plan.estimate.memory import Device, Memory, memory_of
from tunekit.plan.estimate.run import Estimate, estimates_of
from tunekit.plan.estimate.shapes import Unknown, from_config, header_of
from tunekit.plan.estimate.trained import is_target, of_adapter, trained
from tunekit.plan.estimate.volume import Volume

# As their publishers have them: model_type, hidden, intermediate, layers, heads, key-value heads, vocabulary, tied,
# and how many parameters there are.
KNOWN = {
    "SmolLM2-135M": ("llama", 576, 1536, 30, 9, 3, 49152, True, 134_515_008),
    "Qwen2.5-1.5B": ("qwen2", 1536, 8960, 28, 12, 2, 151936, True, 1_543_714_304),
    "Llama-3.2-3B": ("llama", 3072, 8192, 28, 24, 8, 128256, True, 3_212_749_824),
    "Mistral-7B": ("mistral", 4096, 14336, 32, 32, 8, 32000, False, 7_241_732_096),
    "Llama-3-8B": ("llama", 4096, 14336, 32, 32, 8, 128256, False, 8_030_261_248),
    "Llama-2-13B": ("llama", 5120, 13824, 40, 40, 40, 32000, False, 13_015_864_320),
    "CodeLlama-34B": ("llama", 8192, 22016, 48, 64, 8, 32000, False, 33_743_970_304),
    "Llama-3-70B": ("llama", 8192, 28672, 80, 64, 8, 128256, False, 70_553_706_496),
}
GB = 1e9


def config_of(name: str) -> dict:
    family, hidden, middle, layers, heads, keys, vocabulary, tied, _ = KNOWN[name]
    return {
        "model_type": family, "hidden_size": hidden, "intermediate_size": middle, "num_hidden_layers": layers,
        "num_attention_heads": heads, "num_key_value_heads": keys, "vocab_size": vocabulary,
        "tie_word_embeddings": tied,
    }  # fmt: skip


@pytest.mark.parametrize("name", KNOWN)
def test_parameters_of_known_models(name):
    assert from_config(config_of(name)).parameters == KNOWN[name][-1]


def gigabytes(name: str, **spec) -> float:
    weights = from_config(config_of(name))
    spec = {"dtype": "bfloat16", "optimizer": "adamw_torch", "gradient_checkpointing": True, **spec}
    return memory_of(weights, trained(weights.tensors, spec), "sft", spec, 1024).total / GB


LORA, QLORA = {"r": 16}, {"r": 16, "quantize": "nf4"}


@pytest.mark.parametrize(
    ("name", "adapter", "low", "high"),
    [  # the VRAM table of the specification (S-SFT-10), bounds of both ends; one sequence of 1024 tokens
        ("Qwen2.5-1.5B", QLORA, 3, 8), ("Llama-3.2-3B", QLORA, 4, 8),
        ("Mistral-7B", QLORA, 4.5, 14), ("Llama-3-8B", QLORA, 7, 14), ("Llama-2-13B", QLORA, 8, 20),
        ("CodeLlama-34B", QLORA, 18, 32), ("Llama-3-70B", QLORA, 36, 48),
        ("Llama-3.2-3B", LORA, 8, 12), ("Llama-3-8B", LORA, 16, 24), ("Llama-2-13B", LORA, 26, 40),
        ("CodeLlama-34B", LORA, 64, 80), ("Llama-3-70B", LORA, 128, 160),
        ("Llama-3.2-3B", None, 24, 32), ("Llama-3-8B", None, 60, 80), ("Llama-2-13B", None, 100, 160),
    ],
)  # fmt: skip
def test_the_table_of_the_specification(name, adapter, low, high):
    found = gigabytes(name, adapter=adapter)
    assert low <= found <= high, f"{found:.1f}"


def test_full_weights_in_bfloat16_are_four_times_the_model():
    """S-SFT-10: weights, gradients and two moments; without what a step adds."""
    weights = from_config(config_of("Llama-3-8B"))
    spec = {"dtype": "bfloat16"}
    found = memory_of(weights, weights.parameters, "sft", spec, 0)
    assert found.total == pytest.approx(4 * 2 * weights.parameters)


def test_what_makes_it_smaller():
    base = {"adapter": LORA}
    whole = gigabytes("Llama-3-8B", **base)
    assert gigabytes("Llama-3-8B", **base, gradient_checkpointing=False) > whole * 1.3
    assert gigabytes("Llama-3-8B", **base, loss_kernel="liger") < whole
    full = gigabytes("Llama-3.2-3B")
    assert gigabytes("Llama-3.2-3B", optimizer="adamw_bnb_8bit") == pytest.approx(full - 2 * 3.2127, abs=0.01)


class TestTrained:
    TENSORS = from_config(
        {"model_type": "llama", "hidden_size": 8, "intermediate_size": 16, "num_hidden_layers": 2,
         "num_attention_heads": 2, "num_key_value_heads": 1, "vocab_size": 10, "attention_bias": True}
    ).tensors  # fmt: skip

    def test_lora_by_hand(self):
        """q: 8→8, v: 8→4, two layers, rank 2."""
        assert of_adapter(self.TENSORS, {"r": 2, "target_modules": ["q_proj", "v_proj"]}) == 2 * 2 * ((8 + 8) + (8 + 4))

    def test_names_a_regex_and_all(self):
        adapted = lambda targets: {  # noqa: E731
            n for n in self.TENSORS if is_target(n.removesuffix(".weight"), {"target_modules": targets})
        }
        assert adapted("all-linear") >= {"model.layers.1.mlp.down_proj.weight"}
        assert not adapted("all-linear") & {"lm_head.weight", "model.embed_tokens.weight"}
        assert len(adapted(r".*\.0\..*q_proj")) == 1 and adapted(["proj"]) == set()

    def test_what_is_trained_beside(self):
        small = {"r": 1, "target_modules": ["q_proj"]}
        plain = of_adapter(self.TENSORS, small)
        assert of_adapter(self.TENSORS, {**small, "use_dora": True}) == plain + 2 * 8
        assert of_adapter(self.TENSORS, {**small, "bias": "lora_only"}) == plain + 2 * 8
        assert of_adapter(self.TENSORS, {**small, "bias": "all"}) == plain + 2 * (8 + 4 + 4 + 8)
        assert of_adapter(self.TENSORS, {**small, "modules_to_save": ["lm_head"]}) == plain + 80
        assert of_adapter(self.TENSORS, {**small, "layers_to_transform": [1]}) == plain // 2
        assert of_adapter(self.TENSORS, {**small, "rank_pattern": {"0.self_attn.q_proj": 3}}) == plain * 2

    def test_experts(self):
        tensors = {"mlp.experts.up": (4, 6, 8)}
        adapter = {"r": 2, "target_modules": [], "target_parameters": ["experts.up"]}
        assert of_adapter(tensors, adapter) == 2 * 4 * (6 + 8)

    def test_chosen_parameters(self):
        assert trained(self.TENSORS, {"train_parameters": [r".*norm.*"]}) == 5 * 8


class TestHeaders:
    def test_a_file(self):
        data = save({"a": np.zeros((2, 3), np.float32), "b": np.zeros(4, np.float16)})
        assert header_of(io.BytesIO(data)) == {"a": (2, 3), "b": (4,)}

    @pytest.mark.parametrize(
        "data",
        [b"", b"\xff" * 8, (10).to_bytes(8, "little") + b"{}", (2).to_bytes(8, "little") + b"[]",
         (10).to_bytes(8, "little") + b'{"a": {} }', (24).to_bytes(8, "little") + b'{"a": {"shape": [1, -2]}}'],
    )  # fmt: skip
    def test_damaged(self, data):
        with pytest.raises(ValueError):
            header_of(io.BytesIO(data))


def test_families_that_are_not_known():
    found = from_config({"model_type": "mamba"})
    assert isinstance(found, Unknown) and "llama" in found.why
    assert isinstance(from_config({"model_type": "llama", "num_attention_heads": 0}), Unknown)


TOML = """
[dataset.a]
source = "path:a.jsonl"
format = "completion"
[tokenizer.t]
data = ["dataset:a"]
vocab_size = 300
[model.new]
tokenizer = "tokenizer:t"
[model.new.config]
model_type = "llama"
hidden_size = 32
intermediate_size = 64
num_hidden_layers = 2
num_attention_heads = 4
[model.file]
source = "path:model"
[model.far]
source = "hf:org/name"
[run.full]
method = "sft"
model = "model:new"
data = ["dataset:a", { dataset = "dataset:a", limit = 4, weight = 0.5 }]
batch_size = 8
epochs = 2
[run.lora]
method = "sft"
model = "run:full"
adapter = { r = 2 }
data = ["dataset:a"]
max_steps = 7
batch_size = 4
[run.more]
method = "sft"
model = "run:lora"
data = ["dataset:a"]
[run.file]
method = "sft"
model = "model:file"
data = ["dataset:a"]
[run.far]
method = "sft"
model = "model:far"
data = ["dataset:a"]
"""


@pytest.fixture
def declared(project):
    project.rows("a.jsonl", [{"text": f"row {i}"} for i in range(20)])
    model = project.root / "model"
    model.mkdir()
    (model / "config.json").write_text('{"model_type": "odd", "hidden_size": 4, "num_hidden_layers": 1}')
    (model / "model.safetensors").write_bytes(save({"x.weight": np.zeros((3, 5), np.float32)}))
    project.manifest(TOML)
    return project


def found_in(project, *labels: str) -> dict[str, Estimate]:
    planner = project.planner()
    planner.plan(labels)
    return {e.label: e for e in estimates_of(planner, list(labels))}


def test_a_project_before_and_after_its_data(declared):
    runs = ["run:full", "run:lora", "run:more", "run:file", "run:far"]
    found = found_in(declared, *runs)
    base = 2 * 300 * 32 + 2 * (4 * 32 * 32 + 3 * 32 * 64 + 2 * 32) + 32
    assert found["run:full"].parameters == found["run:full"].trained == base
    adapter = 2 * 2 * (4 * 64 + 3 * 96)
    assert (found["run:lora"].parameters, found["run:lora"].trained) == (base + adapter, adapter)
    assert found["run:more"].trained == adapter  # the one that it continues
    assert found["run:file"].parameters == 15
    assert found["run:far"].parameters is None and "tunekit build model:far" in found["run:far"].unknown[-1]
    assert found["run:full"].volume == Volume(None, None, None) and found["run:lora"].volume.steps == 7
    assert declared.build("dataset:a").code == 0
    found = found_in(declared, *runs)
    assert found["run:full"].volume == Volume(48, None, 6)  # 22 rows an epoch: 3 steps of 8
    assert declared.build("run:full#tokens").code == 0
    volume = found_in(declared, "run:full")["run:full"].volume
    assert volume.steps == 6 and volume.tokens and volume.tokens / volume.rows > 2


def test_lines_and_json(declared):
    out = declared.run("plan", "--estimate", "run:lora", "run:far").out
    assert "run:far" in out and "unknown     parameters" in out and "memory      about" in out
    answer = json.loads(declared.run("plan", "--estimate", "run:lora", "--json").out)
    by_label = {e["label"]: e for e in answer["estimates"]}
    assert by_label["run:lora"]["memory"]["total"] > 0 and by_label["run:lora"]["fits"] in (True, None)
    assert "estimates" not in json.loads(declared.run("plan", "run:lora", "--json").out)


def test_what_does_not_fit_says_what_helps():
    from tunekit.report.estimate import estimate_lines

    found = Estimate("run:x", 10, 10, Volume(None, None, None), Memory(1, 1, 1, 10**12, 1), 4096, 64, [])
    on = Device("cuda", "a GPU", 80 * 10**9, 10**9)
    text = "\n".join(estimate_lines([found], on))
    assert "DOES NOT FIT" in text and "the largest part is activations" in text and "micro_batch_size" in text
    assert found.fits(Device("cpu", "m", 0, 0)) is None


def test_what_cannot_be_measured(declared):
    done = declared.run("plan", "--measure", "dataset:a")
    assert done.code == 2 and "wrong-kind" in done.err
    done = declared.run("plan", "--measure", "run:full")
    assert done.code == 2 and "tunekit build" in done.err and "run:full#tokens" in done.err
