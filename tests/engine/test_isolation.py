"""The probe: who is let through, who is refused by name, and what it leaves in the record."""

import sys
from pathlib import Path
from typing import Any

import pytest

sys.path.insert(0, str(Path(__file__).parent))
import packed_models as models
import tiny_stack as tiny
import torch

from tunekit.engine.isolation import check_isolation, measure
from tunekit.errors import ActionError
from tunekit.methods.sft.batches import Collator

pytestmark = pytest.mark.torch
EXAMPLES = [models.example(9, 14, 7), models.example(11, seed=1)]


@pytest.mark.parametrize("name", models.HONOURED)
def test_who_keeps_documents_apart(name: str) -> None:
    events = tiny.Recorder()
    found = check_isolation(models.loaded(models.model_of(name)), EXAMPLES, Collator(0, "rows"), events)
    assert found.leaks == 0 and found.differs < 1e-5 and found.effect > 0.1
    (gate,) = events.of("gate")
    assert gate["name"] == "packed_loss" and gate["passed"]
    assert gate["measured"]["packed"] == pytest.approx(gate["measured"]["alone"], abs=1e-5)


@pytest.mark.parametrize("layout", ["rows", "flat"])
@pytest.mark.parametrize("name", models.REFUSED)
def test_who_does_not_is_refused_by_name(name: str, layout: Any) -> None:
    """In either layout, and although the losses of some (convolutions, few tokens deep) hardly differ."""
    model = models.model_of(name)
    events = tiny.Recorder()
    with pytest.raises(ActionError, match=f"{type(model).__name__} with attn = 'eager'") as found:
        check_isolation(models.loaded(model), EXAMPLES, Collator(0, layout), events)
    assert found.value.slug == "packing-not-honoured" and "group_by_length" in found.value.hint
    assert [gate["passed"] for gate in events.of("gate")] in ([False], [])  # none: the model raised


@pytest.mark.parametrize("attn", ["eager", "sdpa"])
def test_half_precision(attn: str) -> None:
    """Rounding is large there, a leak is still not zero."""
    collate = Collator(0, "rows")
    honest = models.loaded(models.model_of("llama", attn, torch.bfloat16), attn)
    assert check_isolation(honest, EXAMPLES, collate, tiny.Recorder()).leaks == 0
    for name in ("lfm2", "gpt_oss", "mamba"):
        with pytest.raises(ActionError, match="does not keep packed documents apart"):
            check_isolation(
                models.loaded(models.model_of(name, dtype=torch.bfloat16)), EXAMPLES, collate, tiny.Recorder()
            )


def test_one_row_without_padding() -> None:
    for attn in ("eager", "sdpa"):
        model = models.model_of("qwen3", attn)
        assert measure(model, EXAMPLES, Collator(0, "flat")).leaks == 0


def test_a_broken_collator_is_seen() -> None:
    """What if the mask came back, positions did not restart, or a first token were a label?"""
    right = Collator(0, "rows")

    def masked(examples: list[dict[str, Any]]) -> dict[str, Any]:
        batch = right(examples)
        return batch | {"attention_mask": torch.ones_like(batch["input_ids"])}

    def labelled(examples: list[dict[str, Any]]) -> dict[str, Any]:
        batch = right(examples)
        return batch | {"labels": batch["input_ids"]}

    def run_on(examples: list[dict[str, Any]]) -> dict[str, Any]:
        batch = right(examples)
        return batch | {"position_ids": torch.arange(batch["input_ids"].shape[1]).expand_as(batch["input_ids"])}

    for broken in (masked, labelled, run_on):
        with pytest.raises(ActionError, match="does not keep packed documents apart"):
            check_isolation(models.loaded(models.model_of("llama")), EXAMPLES, broken, tiny.Recorder())


def test_a_model_that_shows_nothing_proves_nothing() -> None:
    """Attention that adds zero today and learns tomorrow."""
    model = models.model_of("mamba")
    for name, weight in model.named_parameters():
        if name.endswith("out_proj.weight"):
            weight.data.zero_()
    with pytest.raises(ActionError, match="does not keep packed documents apart"):
        check_isolation(models.loaded(model), EXAMPLES, Collator(0, "rows"), tiny.Recorder())


def test_the_model_is_left_as_it_was() -> None:
    model = models.model_of("llama").train()
    state, before = torch.get_rng_state(), {k: v.clone() for k, v in model.state_dict().items()}
    check_isolation(models.loaded(model), EXAMPLES, Collator(0, "rows"), tiny.Recorder())
    assert model.training and torch.equal(torch.get_rng_state(), state)
    assert all(torch.equal(v, before[k]) for k, v in model.state_dict().items())
    assert all(p.grad is None for p in model.parameters())
