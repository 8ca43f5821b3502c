"""A run that goes on from the kept state of a shorter one has the bytes of the straight run."""

import shutil
import sys
from pathlib import Path
from typing import Any

import pytest

sys.path.insert(0, str(Path(__file__).parents[1] / "methods" / "sft"))
sys.path.insert(0, str(Path(__file__).parent))
import tiny_stack as tiny
from sft_runs import LORA, Case

from tunekit.errors import ActionError
from tunekit.methods.sft.run import run
from tunekit.methods.sft.spec import Sft

pytestmark = pytest.mark.torch
SPEC: dict[str, Any] = {
    "model": "model:m",
    "data": ["dataset:a"],
    "adapter": LORA,
    "batch_size": 4,
    "learning_rate": 0.05,
    "lr_scheduler": "constant_with_warmup",
    "warmup_steps": 3,
    "checkpoint_steps": 2,
    "logging_steps": 2,
    "val": 0.2,
    "eval_steps": 2,
    "keep": "best",
    "keep_state": True,
}


@pytest.fixture(scope="module")
def case(tmp_path_factory: pytest.TempPathFactory) -> Case:
    return Case(tmp_path_factory.mktemp("extension"))


Run = tuple[dict[str, Path], tiny.Recorder]


@pytest.fixture(scope="module")
def straight(case: Case, tmp_path_factory: pytest.TempPathFactory) -> Run:
    return case.run(tmp_path_factory.mktemp("straight"), SPEC | {"max_steps": 8})


@pytest.fixture(scope="module")
def short(case: Case, tmp_path_factory: pytest.TempPathFactory) -> Run:
    return case.run(tmp_path_factory.mktemp("short"), SPEC | {"max_steps": 4})


def assert_same(found: Run, expected: Run) -> None:
    (outputs, events), (wanted, said) = found, expected
    for role in ("last", "best"):
        assert tiny.tree(outputs[role]) == tiny.tree(wanted[role]), role
    assert events.metrics == said.metrics
    assert events.settings["summary"] == said.settings["summary"]


def test_what_is_kept(short: Run) -> None:
    outputs, events = short
    files = set(tiny.tree(outputs["state"]))
    assert {"numeric-settings.json", "checkpoint-4/trainer_state.json", "checkpoint-4/optimizer.pt"} <= files
    assert not [f for f in files if f.endswith(("training_args.bin", "README.md"))]
    assert events.settings["summary"]["steps"] == 4 and outputs["main"] == outputs["best"]


def test_it_is_the_straight_run(case: Case, straight: Run, short: Run, tmp_path: Path) -> None:
    found = case.run(tmp_path, SPEC | {"max_steps": 8}, state=str(short[0]["state"]))
    settings = found[1].settings
    assert settings["extended"] == {"from_step": 4, "of": "model:m"} and settings["resumed_from_step"] == 4
    assert_same(found, straight)
    kept, wanted = (tiny.tree(outputs["state"]) for outputs in (found[0], straight[0]))
    history = "checkpoint-8/trainer_state.json"  # TRL's own count of tokens restarts with the process
    assert kept.pop(history) and wanted.pop(history) and kept == wanted, "it can go on from there again"


def test_interrupted_while_it_goes_on(case: Case, straight: Run, short: Run, tmp_path: Path) -> None:
    spec, state = SPEC | {"max_steps": 8}, str(short[0]["state"])
    for step in (5, 7):
        with pytest.raises(KeyboardInterrupt):
            run(case.request(tmp_path, spec, state=state), tiny.Interrupted(step))
    found = case.run(tmp_path, spec, state=state)
    assert found[1].settings["resumed_from_step"] == 6
    assert_same(found, straight)


def test_killed_after_its_last_checkpoint(case: Case, short: Run, tmp_path: Path) -> None:
    """No step follows the checkpoint of the last one, though it lies in the middle of an epoch."""
    spec = SPEC | {"max_steps": 4}
    case.run(tmp_path, spec)
    shutil.rmtree(tmp_path / "out")
    found = case.run(tmp_path, spec)
    assert found[1].settings["resumed_from_step"] == 4 and not found[1].of("progress")
    assert_same(found, short)


def test_by_epochs_and_with_a_schedule_free_optimizer(case: Case, tmp_path: Path) -> None:
    """An epoch ends with a short batch, and evaluation leaves the averaged weights in place."""
    more = {"optimizer": "schedule_free_adamw", "lr_scheduler": "constant", "eval_steps": 2, "logging_steps": 1}
    spec = SPEC | more | {"adapter": None, "learning_rate": 0.01}
    one, _ = case.run(tmp_path / "one", spec | {"epochs": 1.0})
    straight = case.run(tmp_path / "two", spec | {"epochs": 2.0})
    found = case.run(tmp_path / "more", spec | {"epochs": 2.0}, state=str(one["state"]))
    assert found[1].settings["extended"]["from_step"] == 4
    assert_same(found, straight)


def test_other_numeric_settings_begin_anew(case: Case, short: Run, tmp_path: Path) -> None:
    _, events = case.run(tmp_path, SPEC | {"max_steps": 6, "micro_batch_size": 2}, state=str(short[0]["state"]))
    (warning,) = [w for w in events.of("warning") if w["slug"] == "state-not-continued"]
    assert warning["fields"] == ["micro_batch_size"] and events.settings["resumed_from_step"] == 0
    assert "extended" not in events.settings


def test_the_last_step_must_be_one_of_the_longer_run(case: Case, tmp_path: Path) -> None:
    with pytest.raises(ActionError) as found:
        case.run(tmp_path, SPEC | {"epochs": 1.0, "eval_steps": 3})
    assert found.value.slug == "state-off-interval"


@pytest.mark.parametrize(
    "change",
    [
        {"lr_scheduler": "cosine"},
        {"lr_scheduler": "constant_with_warmup", "warmup_ratio": 0.1},
        {"val": 0.1},
        {"max_steps": 5, "logging_steps": 2},
        {"max_steps": 5, "val": 0.1, "eval_steps": 2},
        {"streaming": True, "overlong": "split", "max_steps": 3},
    ],
)
def test_what_does_not_go_together(change: dict[str, Any]) -> None:
    spec = Sft(**({"model": "m", "data": ["d"], "lr_scheduler": "constant", "keep_state": True} | change))
    assert {fault[0] for fault in spec.checks()} == {"keep_state"}
