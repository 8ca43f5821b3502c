"""New heads on language models: their first weights, adapters and quantized bases."""

import sys
from pathlib import Path

import pytest

sys.path.insert(0, str(Path(__file__).parent))
import tiny_stack as tiny
import torch
from transformers import AutoModelForCausalLM

from tunekit.engine.heads import Head, new_head
from tunekit.engine.loading import load_policy
from tunekit.errors import ActionError
from tunekit.steps.adapter.spec import Adapter
from tunekit.steps.model.run import run as make_model

pytestmark = pytest.mark.torch
HEADS = [Head("SEQ_CLS", 1), Head("TOKEN_CLS", 2)]


@pytest.fixture(scope="module")
def base(tmp_path_factory: pytest.TempPathFactory) -> str:
    root = tmp_path_factory.mktemp("heads")
    tokenizer = tiny.write_tokenizer(root / "tokenizer")
    spec = {"config": tiny.LLAMA, "tokenizer": "tokenizer:t"}
    make_model(tiny.request(root / "model", "model", spec, tokenizer=str(tokenizer)), tiny.Recorder())
    return str(root / "model" / "out" / "main")


@pytest.mark.parametrize("head", HEADS, ids=lambda h: h.task)
def test_it_depends_on_the_seed_alone(base: str, head: Head) -> None:
    weights = []
    for seed, before in ((42, 0), (42, 1), (43, 0)):
        torch.manual_seed(before)
        model = load_policy(base, seed=seed, head=head).model
        weights.append(model.score.weight)
        assert model.score.bias is None or not model.score.bias.any()
    assert torch.equal(weights[0], weights[1]) and not torch.equal(weights[0], weights[2])
    expected = torch.empty(head.labels, 32).normal_(0.0, 0.02, generator=torch.Generator().manual_seed(42))
    assert torch.equal(weights[0], expected)
    body = AutoModelForCausalLM.from_pretrained(base).model.state_dict()
    assert all(torch.equal(body[name], value) for name, value in model.model.state_dict().items())


@pytest.mark.parametrize("head", HEADS, ids=lambda h: h.task)
@pytest.mark.parametrize("quantize", ["none", "nf4", "int8"])
def test_with_an_adapter_it_is_trained_whole(base: str, head: Head, quantize: str) -> None:
    """In full precision, whatever the base is in; no low rank is put on it, though it is a linear layer."""
    if quantize != "none":
        pytest.importorskip("bitsandbytes")
    adapter = Adapter(r=4, target_modules="all-linear", quantize=quantize)
    loaded = load_policy(base, new_adapter=adapter, seed=1, head=head)
    trained = {name for name, p in loaded.model.named_parameters() if p.requires_grad}
    own = {name for name in trained if "score" in name}
    assert own == {
        f"base_model.model.score.modules_to_save.default.{x}"
        for x in ("weight", "bias")[: 1 if head.labels == 1 else 2]
    }
    assert trained - own and all("lora_" in name for name in trained - own)
    (module,) = [m for name, m in loaded.model.named_modules() if name.endswith("score.modules_to_save.default")]
    assert type(module) is torch.nn.Linear and module.weight.dtype == torch.float32
    if loaded.quantization:
        assert len(loaded.quantization.modules) == 14, "seven linear layers in each of two blocks"


def test_what_has_no_new_head_is_refused(base: str) -> None:
    with pytest.raises(ActionError, match="0 new modules") as found:
        new_head(AutoModelForCausalLM.from_pretrained(base), set(), HEADS[0], 0)
    assert found.value.slug == "no-head"
