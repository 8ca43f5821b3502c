"""A reward model beside its formula in plain torch, resumed, and learning; and its artifact without tunekit."""

import json
import sys
from pathlib import Path
from typing import Any

import pytest

sys.path.insert(0, str(Path(__file__).parents[1]))
import torch
from pair_rows import PAIRED, Row, pair_tokens, pairs
from peft import PeftModel
from safetensors.torch import load_file
from tiny_room import BARE, LORA, Room, assert_same_steps, first_steps, plain_steps, tiny
from torch.nn.functional import logsigmoid
from transformers import AutoModelForSequenceClassification

import tunekit.methods.pairwise.run as pairwise
from tunekit.engine.heads import Head, new_head
from tunekit.engine.loading import load_policy
from tunekit.errors import ActionError
from tunekit.methods.reward.run import run

pytestmark = pytest.mark.torch


@pytest.fixture(scope="module")
def room(tmp_path_factory: pytest.TempPathFactory) -> Room:
    return Room(tmp_path_factory.mktemp("reward"), "run.reward", run)


def scorer(path: str) -> Any:
    return AutoModelForSequenceClassification.from_pretrained(path, num_labels=1, dtype=torch.float32)


def with_seeded_head(path: str) -> Any:
    """The plain model, with the head that a run of seed 42 begins with."""
    model = scorer(path)
    generator = torch.Generator().manual_seed(42)
    with torch.no_grad():
        model.score.weight.normal_(0.0, 0.02, generator=generator)
    return model


def rewards(model: Any, rows: list[Row]) -> list[tuple[torch.Tensor, torch.Tensor]]:
    """Of every answer, one by one: the number at its last token."""
    return [
        tuple(model(torch.tensor([[*row.prompt, *answer]])).logits[0, 0] for answer in (row.chosen, row.rejected))
        for row in rows
    ]


def polite(count: int, seed: int) -> list[Row]:
    """Pairs of answers of which the chosen one has a certain token somewhere."""
    rows = [row._replace(chosen=list(row.rejected)) for row in pairs(count, seed)]
    for i, row in enumerate(rows):
        row.chosen.insert(i % len(row.chosen), 50)
    return rows


def bradley_terry(model: Any, rows: list[Row], coefficient: float = 0.0) -> torch.Tensor:
    found = rewards(model, rows)
    return torch.stack([-logsigmoid(c - r) + coefficient * (c + r) ** 2 for c, r in found]).mean()


@pytest.mark.parametrize(("micro", "coefficient"), [(12, None), (4, 0.1)])
def test_first_steps_are_those_of_the_formula(
    room: Room, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, micro: int, coefficient: float | None
) -> None:
    """However the 11 pairs of a step are cut, and whatever is padded beside an answer."""
    rows = pairs(11, 0)
    tokens = pair_tokens(room, f"steps{micro}", rows)
    spec = PAIRED | BARE | {"batch_size": 12, "micro_batch_size": micro, "center_rewards_coefficient": coefficient}
    found = first_steps(monkeypatch, pairwise, lambda: room.run(tmp_path, spec, tokens=tokens)[1])
    model = with_seeded_head(room.model)
    want = plain_steps(model, lambda m: bradley_terry(m, rows, coefficient or 0.0), 3, BARE["learning_rate"])
    assert_same_steps(found, want)
    assert "score.weight" in found[0].gradients


@pytest.mark.parametrize("adapter", [None, LORA])
def test_resume_is_exact(room: Room, tmp_path: Path, adapter: dict[str, Any] | None) -> None:
    spec = PAIRED | {"batch_size": 4, "max_steps": 5, "checkpoint_steps": 2, "learning_rate": 1e-2, "adapter": adapter}
    tokens = pair_tokens(room, f"resume{bool(adapter)}", pairs(10, 1))
    room.check_resume(tmp_path, spec, 3, 2, tokens=tokens)


@pytest.mark.parametrize("adapter", [None, LORA | {"modules_to_save": ["embed_tokens"]}])
def test_it_learns_and_its_artifact_is_plain(room: Room, tmp_path: Path, adapter: dict[str, Any] | None) -> None:
    """Held-out pairs are ranked right; the same numbers come out of Transformers and PEFT alone."""
    held_out = polite(30, 4)
    tokens = pair_tokens(room, f"learns{bool(adapter)}", polite(100, 3), held_out)
    spec = PAIRED | {"batch_size": 8, "max_steps": 40, "learning_rate": 1e-2, "eval_data": ["dataset:b"]}
    outputs, events = room.run(tmp_path, spec | {"adapter": adapter}, tokens=tokens)
    summary = events.settings["summary"]
    assert summary["eval_accuracy"] > 0.9 and summary["eval_margin"] > 1.0
    if adapter:
        assert set(tiny.tree(outputs["main"])) == {"adapter_config.json", "adapter_model.safetensors"}
        config = json.loads(tiny.tree(outputs["main"])["adapter_config.json"])
        assert config["task_type"] == "SEQ_CLS" and "score" in config["modules_to_save"]
        assert not [name for name in load_file(outputs["main"] / "adapter_model.safetensors") if "score.lora" in name]
        model = PeftModel.from_pretrained(scorer(room.model), str(outputs["main"])).eval()
    else:
        model = scorer(str(outputs["main"])).eval()
        assert model.config.architectures == ["LlamaForSequenceClassification"] and model.config.num_labels == 1
    with torch.no_grad():
        found = rewards(model, held_out)
    assert summary["eval_accuracy"] == pytest.approx(sum(bool(c > r) for c, r in found) / len(found))
    assert summary["eval_margin"] == pytest.approx(sum((c - r).item() for c, r in found) / len(found), rel=1e-3)


def test_a_head_depends_on_the_seed_alone(room: Room) -> None:
    heads = []
    for seed, before in ((42, 0), (42, 1), (43, 0)):
        torch.manual_seed(before)
        heads.append(load_policy(room.model, seed=seed, head=Head("SEQ_CLS", 1)).model.score.weight)
    assert torch.equal(heads[0], heads[1]) and not torch.equal(heads[0], heads[2])
    assert torch.equal(heads[0], with_seeded_head(room.model).score.weight)


def test_what_has_no_head_of_its_own_is_refused(room: Room) -> None:
    with pytest.raises(ActionError, match="0 new modules") as found:
        new_head(scorer(room.model), set(), Head("SEQ_CLS", 1), 0)
    assert found.value.slug == "no-head"
