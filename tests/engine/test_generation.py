"""The contract of generation engines, on the embedded one: log-probabilities, stop tokens, seeds, n."""

from __future__ import annotations

import json
import os
from collections.abc import Iterator
from typing import Any

os.environ.setdefault("HF_HUB_OFFLINE", "1")

import pytest

from tunekit.errors import ActionError

pytestmark = pytest.mark.torch
PROMPTS = [[5, 6, 7], [9], [11, 12, 13, 14, 15, 16, 17], [20, 21]]


@pytest.fixture(scope="module")
def tokenizer(tmp_path_factory: pytest.TempPathFactory) -> Any:
    from tokenizers import Tokenizer, models
    from transformers import AutoTokenizer

    directory = tmp_path_factory.mktemp("tokenizer")
    vocabulary = {"<pad>": 0, "<eos>": 1} | {f"t{i}": i for i in range(2, 48)}
    Tokenizer(models.WordLevel(vocabulary, unk_token="t2")).save(str(directory / "tokenizer.json"))
    config = {"tokenizer_class": "PreTrainedTokenizerFast", "pad_token": "<pad>", "eos_token": "<eos>"}
    (directory / "tokenizer_config.json").write_text(json.dumps(config))
    return AutoTokenizer.from_pretrained(directory)


@pytest.fixture(scope="module")
def plain() -> Any:
    import torch
    from transformers import LlamaConfig, LlamaForCausalLM

    torch.set_num_threads(1)
    torch.manual_seed(3)
    config = LlamaConfig(
        vocab_size=48, hidden_size=32, intermediate_size=64, num_hidden_layers=2, num_attention_heads=4,
        num_key_value_heads=2, max_position_embeddings=64, pad_token_id=0, eos_token_id=[1, 2], bos_token_id=None,
        initializer_range=0.3,
    )  # fmt: skip
    model = LlamaForCausalLM(config)
    # What comes with a hub's model must not leak into what was asked for.
    model.generation_config.top_k = 1
    model.generation_config.repetition_penalty = 1.7
    return model


@pytest.fixture(scope="module", params=["plain", "adapter"])
def model(request: pytest.FixtureRequest, plain: Any) -> Iterator[Any]:
    """The model, and one with a LoRA adapter that is not a no-op and has dropout."""
    import copy

    import torch
    from peft import LoraConfig, get_peft_model

    if request.param == "plain":
        yield plain
        return
    torch.manual_seed(4)
    config = LoraConfig(r=4, lora_dropout=0.5, target_modules=["q_proj", "v_proj"], task_type="CAUSAL_LM")
    adapted = get_peft_model(copy.deepcopy(plain), config)
    with torch.no_grad():
        for name, parameter in adapted.named_parameters():
            if "lora_B" in name:
                parameter.normal_(0, 0.3)
    yield adapted


def generate(model: Any, tokenizer: Any, batch_size: int | None = None, **sampling: Any) -> list[list[Any]]:
    from tunekit.engine.generation import Embedded, Sampling

    with Embedded(model, tokenizer, weights="w", batch_size=batch_size) as engine:
        assert engine.weights == "w"
        return engine.generate(PROMPTS, Sampling(**({"max_tokens": 12, "stop_ids": (1, 2), "seed": 5} | sampling)))


@pytest.mark.parametrize(
    "sampling",
    [
        {},
        {"temperature": 0.6},
        {"temperature": 0.0},
        {"temperature": 1.3, "top_k": 8, "top_p": 0.9, "min_p": 0.02, "repetition_penalty": 1.2},
    ],
)
def test_logprobs_are_those_of_a_forward_pass(model: Any, tokenizer: Any, sampling: dict[str, Any]) -> None:
    """One meaning everywhere: log_softmax(logits / temperature) over the whole vocabulary."""
    import torch

    groups = generate(model, tokenizer, n=2, **sampling)
    temperature = sampling.get("temperature", 1.0) or 1.0
    model.eval()
    for prompt, group in zip(PROMPTS, groups, strict=True):
        for completion in group:
            ids = torch.tensor([prompt + completion.token_ids])
            with torch.no_grad():
                logits = model(input_ids=ids).logits[0, len(prompt) - 1 : -1]
            expected = (logits / temperature).log_softmax(-1).gather(1, ids[0, len(prompt) :, None])[:, 0]
            assert len(completion.logprobs) == len(completion.token_ids)
            assert torch.allclose(torch.tensor(completion.logprobs), expected, atol=1e-4)


def test_greedy_is_the_likeliest_token(plain: Any, tokenizer: Any) -> None:
    import torch

    for prompt, (completion,) in zip(PROMPTS, generate(plain, tokenizer, temperature=0.0), strict=True):
        with torch.no_grad():
            logits = plain(input_ids=torch.tensor([prompt + completion.token_ids])).logits[0]
        assert logits[len(prompt) - 1 : -1].argmax(-1).tolist() == completion.token_ids


def test_stop_tokens_end_a_completion_and_belong_to_it(plain: Any, tokenizer: Any) -> None:
    found = [c for group in generate(plain, tokenizer, n=16) for c in group]
    assert {c.finished for c in found} == {True, False}
    for completion in found:
        stops = [i for i, token in enumerate(completion.token_ids) if token in (1, 2)]
        assert stops == ([len(completion.token_ids) - 1] if completion.finished else [])
        assert completion.finished or len(completion.token_ids) == 12
    assert {c.token_ids[-1] for c in found if c.finished} == {1, 2}
    assert all(len(c.token_ids) == 12 for g in generate(plain, tokenizer, stop_ids=()) for c in g)


def test_seeds(plain: Any, tokenizer: Any) -> None:
    import torch

    torch.manual_seed(0)
    expected = torch.rand(2)
    torch.manual_seed(0)
    one = generate(plain, tokenizer, n=3)
    assert torch.equal(torch.rand(2), expected)  # the process's own random state is as it was
    assert generate(plain, tokenizer, n=3) == one
    assert generate(plain, tokenizer, n=3, seed=6) != one


def test_n_completions_a_prompt_in_order_and_in_batches(plain: Any, tokenizer: Any) -> None:
    groups = generate(plain, tokenizer, n=5)
    assert [len(g) for g in groups] == [5] * 4
    assert len({tuple(c.token_ids) for c in groups[0]}) > 1
    whole, parts = (generate(plain, tokenizer, batch_size=b, n=2, temperature=0.0) for b in (None, 3))
    assert [[c.token_ids for c in g] for g in parts] == [[c.token_ids for c in g] for g in whole]


def test_top_k_limits_the_choice(plain: Any, tokenizer: Any) -> None:
    greedy = generate(plain, tokenizer, temperature=0.0)
    assert [[c.token_ids for c in g] for g in generate(plain, tokenizer, top_k=1)] == [
        [c.token_ids for c in g] for g in greedy
    ]


def test_the_model_is_left_as_it_was(model: Any, tokenizer: Any) -> None:
    model.train()
    base = model.get_base_model() if hasattr(model, "get_base_model") else model
    before = base.generation_config
    generate(model, tokenizer)
    assert model.training and base.training and base.generation_config is before
    assert all(m.training for m in model.modules())


def test_a_context_that_is_too_short_is_an_error(plain: Any, tokenizer: Any) -> None:
    with pytest.raises(ActionError, match="do not fit") as found:
        generate(plain, tokenizer, max_tokens=60)
    assert found.value.slug == "context-too-long"


def test_stop_ids(plain: Any, tokenizer: Any) -> None:
    from tunekit.engine.generation import stop_ids_of

    assert stop_ids_of(plain, tokenizer) == (1, 2)
