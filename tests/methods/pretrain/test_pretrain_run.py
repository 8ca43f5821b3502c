"""Packed pretraining beside plain torch, resumed, and learning."""

import sys
from pathlib import Path
from typing import Any

import pytest

sys.path.insert(0, str(Path(__file__).parents[1]))
import tiny_room
import torch
from tiny_room import BARE, Room, assert_same_steps, first_steps, plain_model, plain_steps, texts
from torch.nn.functional import cross_entropy

import tunekit.methods.sft.run as sft_run
from tunekit.methods.pretrain.run import run

pytestmark = pytest.mark.torch
SPEC: dict[str, Any] = {"model": "model:m", "data": ["dataset:a"], "sequence_len": 32}


@pytest.fixture(scope="module")
def room(tmp_path_factory: pytest.TempPathFactory) -> Room:
    return Room(tmp_path_factory.mktemp("pretrain"), "run.pretrain", run)


def test_first_steps_are_those_of_plain_torch(room: Room, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Packed rows here, one document after the other there; a row of 50 tokens is split with one token of overlap."""
    rows = [*texts(12, 0), ([5 + i % 7 for i in range(50)], [True] * 50)]
    tokens = room.tokens("steps", rows)
    found = first_steps(
        monkeypatch,
        sft_run,
        lambda: room.run(tmp_path, SPEC | BARE | {"weight_decay": 0.0, "adam_beta2": 0.999}, tokens=tokens)[1],
    )
    pieces = [rows[-1][0][:32], rows[-1][0][31:], *(ids for ids, _ in rows[:-1])]

    def loss_of(model: Any) -> torch.Tensor:
        total = torch.zeros(())
        for ids in pieces:
            logits_TV = model(torch.tensor([ids])).logits[0]
            total = total + cross_entropy(logits_TV[:-1], torch.tensor(ids[1:]), reduction="sum")
        return total / sum(len(ids) - 1 for ids in pieces)

    assert_same_steps(found, plain_steps(plain_model(room.model), loss_of, 3, BARE["learning_rate"]))


def test_its_defaults_pack_and_split(room: Room, tmp_path: Path) -> None:
    tokens = room.tokens("defaults", [*texts(9, 1), ([5 + i % 7 for i in range(70)], [True] * 70)])
    _, events = room.run(tmp_path, SPEC | {"max_steps": 1}, tokens=tokens)
    (ledger,) = events.settings["ledger"]["data"]
    assert ledger["split"] == 1 and ledger["sequences"] == 9 + 3
    assert events.settings["batches"]["order"] == "packed" and events.settings["batches"]["fill"] > 0.7


def test_resume_is_exact(room: Room, tmp_path: Path) -> None:
    tokens = room.tokens("resume", texts(30, 2), texts(6, 3))
    spec = SPEC | {"batch_size": 4, "max_steps": 7, "checkpoint_steps": 2, "eval_data": ["dataset:b"], "eval_steps": 2}
    room.check_resume(tmp_path, spec | {"adapter": tiny_room.LORA}, 5, 4, tokens=tokens)


def test_it_learns(room: Room, tmp_path: Path) -> None:
    """Held-out rows of the same rule: from a guess among 259 tokens to nearly no doubt."""
    tokens = room.tokens("learns", texts(120, 4), texts(20, 5))
    spec = SPEC | {
        "batch_size": 8,
        "max_steps": 60,
        "learning_rate": 1e-2,
        "eval_data": ["dataset:b"],
        "eval_steps": 20,
    }
    _, events = room.run(tmp_path, spec, tokens=tokens)
    losses = [figures["eval_loss"] for _, figures in events.metrics if "eval_loss" in figures]
    first = next(figures["loss"] for _, figures in events.metrics)
    assert first > 5.4 and losses[-1] < 1.0 and losses == sorted(losses, reverse=True)
