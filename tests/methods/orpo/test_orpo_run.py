"""ORPO beside its formula in plain torch, resumed, and learning."""

import sys
from pathlib import Path
from typing import Any

import pytest

sys.path.insert(0, str(Path(__file__).parents[1]))
import torch
from pair_rows import PAIRED, Row, logps, pair_tokens, pairs
from tiny_room import BARE, LORA, Room, assert_same_steps, first_steps, plain_model, plain_steps

import tunekit.methods.pairwise.run as pairwise
from tunekit.methods.orpo.run import run

pytestmark = pytest.mark.torch


@pytest.fixture(scope="module")
def room(tmp_path_factory: pytest.TempPathFactory) -> Room:
    return Room(tmp_path_factory.mktemp("orpo"), "run.orpo", run)


def orpo(model: Any, rows: list[Row], beta: float) -> torch.Tensor:
    """Of whole rows, one by one: no padding, no batch."""
    nll, tokens, ratios = torch.zeros(()), 0, []
    for row in rows:
        chosen_T, rejected_T = (logps(model, row.prompt, answer) for answer in (row.chosen, row.rejected))
        nll, tokens = nll - chosen_T.sum(), tokens + len(chosen_T)
        c, r = chosen_T[-len(row.chosen) :].mean(), rejected_T[-len(row.rejected) :].mean()
        odds = lambda p: p.exp() / (1 - p.exp())  # noqa: E731
        ratios.append((odds(c) / odds(r)).log().sigmoid().log())
    return nll / tokens - beta * torch.stack(ratios).mean()


@pytest.mark.parametrize("micro", [12, 4])
def test_first_steps_are_those_of_the_formula(
    room: Room, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, micro: int
) -> None:
    """However the 11 pairs of a step are cut: the last forward pass of 4 has 3."""
    rows = pairs(11, 0)
    tokens = pair_tokens(room, f"steps{micro}", rows)
    spec = PAIRED | BARE | {"batch_size": 12, "micro_batch_size": micro, "beta": 0.3}
    found = first_steps(monkeypatch, pairwise, lambda: room.run(tmp_path, spec, tokens=tokens)[1])
    want = plain_steps(plain_model(room.model), lambda m: orpo(m, rows, 0.3), 3, BARE["learning_rate"])
    assert_same_steps(found, want)


def test_resume_is_exact(room: Room, tmp_path: Path) -> None:
    spec = PAIRED | {"batch_size": 4, "max_steps": 5, "checkpoint_steps": 2, "learning_rate": 1e-2, "adapter": LORA}
    tokens = pair_tokens(room, "resume", pairs(14, 1), pairs(5, 2))
    evaluated = {"eval_data": ["dataset:b"], "eval_steps": 2}
    events = room.check_resume(tmp_path, spec | evaluated, 3, 2, tokens=tokens)
    assert events.settings["rows"] == {"train": 14, "evaluated": 5}


def test_it_learns(room: Room, tmp_path: Path) -> None:
    """Held-out pairs: which answer is likelier, and by how much; and the figures are those of the rows."""
    held_out = pairs(30, 4)
    tokens = pair_tokens(room, "learns", pairs(120, 3), held_out)
    spec = PAIRED | {
        "batch_size": 8,
        "max_steps": 60,
        "learning_rate": 1e-2,
        "eval_data": ["dataset:b"],
        "eval_steps": 20,
    }
    outputs, events = room.run(tmp_path, spec, tokens=tokens)
    points = [figures for _, figures in events.metrics if "eval_loss" in figures]
    assert points[-1]["eval_rewards/accuracies"] > 0.95
    assert points[-1]["eval_rewards/margins"] > 0.05 and points[-1]["eval_loss"] < points[0]["eval_loss"] / 2
    model = plain_model(str(outputs["last"])).eval()
    with torch.no_grad():
        assert points[-1]["eval_loss"] == pytest.approx(orpo(model, held_out, 0.1).item(), rel=1e-3)
        before = plain_model(room.model).eval()
        right = sum(
            bool(logps(before, r.prompt, r.chosen)[-len(r.chosen) :].mean()
                 > logps(before, r.prompt, r.rejected)[-len(r.rejected) :].mean())
            for r in held_out
        )  # fmt: skip
    assert right < 24, "it had to be learnt"


def test_evaluation_does_not_depend_on_the_batch(room: Room, tmp_path: Path) -> None:
    tokens = pair_tokens(room, "eval", pairs(4, 5), pairs(7, 6))
    spec = PAIRED | {"batch_size": 4, "max_steps": 1, "eval_data": ["dataset:b"]}
    found = []
    for micro in (4, 1):
        _, events = room.run(tmp_path / str(micro), spec | {"micro_batch_size": micro}, tokens=tokens)
        (figures,) = [f for _, f in events.metrics if "eval_loss" in f]
        found.append(figures)
    assert found[0] == pytest.approx(found[1], rel=1e-4)


def test_rows_held_out_early_stop_and_a_longer_run(room: Room, tmp_path: Path) -> None:
    """What every method on pairs has of `engine`: each row on one side, and a state that a longer run goes on from."""
    spec = PAIRED | {
        "batch_size": 4,
        "learning_rate": 1e-2,
        "lr_scheduler": "constant",
        "val": 0.3,
        "eval_steps": 2,
        "keep_state": True,
    }
    tokens = pair_tokens(room, "held", pairs(20, 5))
    short, events = room.run(tmp_path / "short", spec | {"max_steps": 2}, tokens=tokens)
    (trained,), (held,) = (events.settings["ledger"][name] for name in ("data", "val"))
    assert trained["held_out"] == held["kept"] > 0 and trained["kept"] + held["kept"] == 20
    assert events.settings["rows"] == {"train": trained["kept"], "evaluated": held["kept"]}
    straight, said = room.run(tmp_path / "straight", spec | {"max_steps": 6}, tokens=tokens)
    longer, told = room.run(tmp_path / "longer", spec | {"max_steps": 6}, tokens=tokens, state=str(short["state"]))
    assert told.settings["extended"]["from_step"] == 2 and told.metrics == said.metrics
    assert (longer["last"] / "model.safetensors").read_bytes() == (straight["last"] / "model.safetensors").read_bytes()
    stop = {"patience": 1, "min_delta": 50.0, "keep_state": False}
    _, stopped = room.run(tmp_path / "stop", spec | stop | {"max_steps": 12}, tokens=tokens)
    assert stopped.settings["stopped_early"]["step"] == 4 and stopped.settings["summary"]["steps"] == 4
