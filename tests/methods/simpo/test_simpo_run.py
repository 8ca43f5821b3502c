"""SimPO beside its formula in plain torch, resumed, and learning."""

import sys
from pathlib import Path
from typing import Any

import pytest

sys.path.insert(0, str(Path(__file__).parents[1]))
import torch
from pair_rows import PAIRED, Row, logps, pair_tokens, pairs
from tiny_room import BARE, LORA, Room, assert_same_steps, first_steps, plain_model, plain_steps
from torch.nn.functional import logsigmoid

import tunekit.methods.pairwise.run as pairwise
from tunekit.methods.simpo.run import run

pytestmark = pytest.mark.torch


@pytest.fixture(scope="module")
def room(tmp_path_factory: pytest.TempPathFactory) -> Room:
    return Room(tmp_path_factory.mktemp("simpo"), "run.simpo", run)


def simpo(
    model: Any, rows: list[Row], beta: float, gamma: float, alpha: float = 0.0, smoothing: float = 0.0
) -> torch.Tensor:
    """Of whole rows, one by one: no padding, no batch."""
    losses, nll, labels = [], torch.zeros(()), 0
    for row in rows:
        c_T, r_T = (logps(model, row.prompt, answer)[-len(answer) :] for answer in (row.chosen, row.rejected))
        ahead = beta * (c_T.mean() - r_T.mean()) - gamma
        losses.append(-(1 - smoothing) * logsigmoid(ahead) - smoothing * logsigmoid(-ahead))
        nll, labels = nll - c_T.sum(), labels + len(c_T)
    return torch.stack(losses).mean() + alpha * nll / labels


@pytest.mark.parametrize(
    ("micro", "settings"),
    [
        (12, {"beta": 2.0, "gamma": 1.0}),
        (4, {"beta": 3.0, "gamma": 0.5, "alpha": 0.2, "smoothing": 0.1}),
    ],
)
def test_first_steps_are_those_of_the_formula(
    room: Room, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, micro: int, settings: dict[str, float]
) -> None:
    """However the 11 pairs of a step are cut: the last forward pass of 4 has 3."""
    rows = pairs(11, 0)
    tokens = pair_tokens(room, f"steps{micro}", rows)
    names = {"gamma": "simpo_gamma", "alpha": "cpo_alpha", "smoothing": "label_smoothing"}
    said = {names.get(name, name): value for name, value in settings.items()}
    spec = PAIRED | BARE | {"batch_size": 12, "micro_batch_size": micro} | said
    found = first_steps(monkeypatch, pairwise, lambda: room.run(tmp_path, spec, tokens=tokens)[1])
    want = plain_steps(plain_model(room.model), lambda m: simpo(m, rows, **settings), 3, BARE["learning_rate"])
    assert_same_steps(found, want)


def test_resume_is_exact(room: Room, tmp_path: Path) -> None:
    spec = PAIRED | {"batch_size": 4, "max_steps": 5, "checkpoint_steps": 2, "learning_rate": 1e-2, "adapter": LORA}
    room.check_resume(tmp_path, spec, 3, 2, tokens=pair_tokens(room, "resume", pairs(10, 1)))


def test_it_learns(room: Room, tmp_path: Path) -> None:
    """Held-out pairs: which answer is likelier, and by how much."""
    tokens = pair_tokens(room, "learns", pairs(120, 3), pairs(30, 4))
    spec = PAIRED | {
        "batch_size": 8,
        "max_steps": 50,
        "learning_rate": 1e-2,
        "eval_data": ["dataset:b"],
        "eval_steps": 25,
    }
    _, events = room.run(tmp_path, spec, tokens=tokens)
    points = [figures for _, figures in events.metrics if "eval_loss" in figures]
    assert points[-1]["eval_rewards/accuracies"] > 0.9 and points[-1]["eval_rewards/margins"] > 1.0
    first = next(figures for _, figures in events.metrics)
    assert abs(first["rewards/margins"]) < 0.3 and points[-1]["eval_loss"] < first["loss"] / 2
