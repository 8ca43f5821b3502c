"""Held-out rows and early stopping of a real run; an interruption leaves no trace of either."""

import shutil
import sys
from pathlib import Path
from typing import Any

import pytest

sys.path.insert(0, str(Path(__file__).parents[2] / "engine"))
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
    "batch_size": 4,
    "max_steps": 20,
    "learning_rate": 0.3,
    "lr_scheduler": "constant",
    "checkpoint_steps": 2,
    "val": 0.2,
    "eval_steps": 2,
    "patience": 2,
    "keep": "best",
}


@pytest.fixture(scope="module")
def case(tmp_path_factory: pytest.TempPathFactory) -> Case:
    return Case(tmp_path_factory.mktemp("sft"))


def test_it_stops_where_nothing_gets_better(case: Case, tmp_path: Path) -> None:
    """With a learning rate that ruins the model; interrupted after the best, and at the very end."""
    straight, events = case.run(tmp_path / "straight", SPEC | {"logging_steps": 3})
    losses = {step: f["eval_loss"] for step, f in events.metrics if "eval_loss" in f}
    best = min(losses, key=losses.__getitem__)
    stopped = events.settings["stopped_early"]
    assert stopped == {"step": best + 4, "of": 20, "eval_loss": losses[best + 4]}
    assert max(losses) == best + 4 and events.settings["summary"]["steps"] == best + 4
    summary, ledger = events.settings["summary"], events.settings["ledger"]
    assert summary["best_step"] == best and straight["main"] == straight["best"]
    (trained,), (held,) = ledger["data"], ledger["val"]
    assert held["sequences"] == trained["held_out"] > 0 and trained["sequences"] + held["sequences"] == 21
    assert events.settings["batches"]["rows"] == trained["sequences"]
    assert sum(f["tokens"] for _, f in events.metrics if "tokens" in f) == summary["tokens"], "the last steps count"
    for step in (best + 3, best + 4):
        req = case.request(tmp_path / str(step), SPEC | {"logging_steps": 3})
        with pytest.raises(KeyboardInterrupt):
            run(req, tiny.Interrupted(step))
        outputs, resumed = case.run(tmp_path / str(step), SPEC | {"logging_steps": 3})
        assert resumed.settings["resumed_from_step"] > 0
        assert resumed.metrics == events.metrics and resumed.settings["summary"] == summary
        assert resumed.settings["stopped_early"] == stopped
        assert tiny.tree(outputs["last"]) == tiny.tree(straight["last"])
        assert tiny.tree(outputs["best"]) == tiny.tree(straight["best"])


def test_killed_between_the_stop_and_the_end(case: Case, tmp_path: Path) -> None:
    """Evaluation, checkpoint and stop fall on one step: no checkpoint is left there that would be trained on from."""
    spec = SPEC | {"adapter": LORA, "learning_rate": 1e-9, "min_delta": 0.5}
    straight, events = case.run(tmp_path, spec)
    assert events.settings["stopped_early"]["step"] == 6
    outputs, again = case.run(tmp_path / "again", spec)
    checkpoints = sorted(p.name for p in (tmp_path / "staging" / "train").glob("checkpoint-*"))
    assert checkpoints == ["checkpoint-2", "checkpoint-4"]
    replayed = tiny.Recorder()
    shutil.rmtree(tmp_path / "out")
    (tmp_path / "out").mkdir()
    run(case.request(tmp_path, spec), replayed)
    assert replayed.settings["resumed_from_step"] == 4 and replayed.metrics == again.metrics
    assert tiny.tree(straight["last"]) == tiny.tree(outputs["last"])


def test_held_out_rows_join_the_evaluation_data(case: Case, tmp_path: Path) -> None:
    spec = SPEC | {"patience": None, "max_steps": 2, "keep": "last", "learning_rate": 1e-9}
    _, both = case.run(tmp_path / "both", spec | {"eval_data": ["dataset:b"]})
    _, given = case.run(
        tmp_path / "given", {k: v for k, v in spec.items() if k != "val"} | {"eval_data": ["dataset:b"]}
    )
    _, held = case.run(tmp_path / "held", spec)

    def measured(events: tiny.Recorder, *sets: str) -> tuple[float, int]:
        labels = sum(item["labelled_tokens"] for name in sets for item in events.settings["ledger"][name])
        return events.settings["summary"]["eval_loss"] * labels, labels

    (a, n), (b, m), (c, k) = measured(both, "val", "eval_data"), measured(given, "eval_data"), measured(held, "val")
    assert n == m + k and a == pytest.approx(b + c, rel=1e-5)


def test_a_share_of_too_few_rows(case: Case, tmp_path: Path) -> None:
    with pytest.raises(ActionError) as found:
        case.run(tmp_path, SPEC | {"val": 1e-6})
    assert found.value.slug == "no-labels" and "raise `val`" in found.value.hint


@pytest.mark.parametrize(
    ("change", "key"),
    [
        ({"val": 1.0}, "val"),
        ({"patience": 2}, "patience"),
        ({"patience": 2, "eval_steps": 3}, "patience"),
        ({"val": 0.1, "patience": 2}, "patience"),
        ({"min_delta": 0.1}, "min_delta"),
        ({"keep": "best"}, "keep"),
        ({"val": 0.1, "streaming": True, "overlong": "split", "max_steps": 3}, "val"),
    ],
)
def test_what_does_not_go_together(change: dict[str, Any], key: str) -> None:
    assert [fault[0] for fault in Sft(model="model:m", data=["dataset:a"], **change).checks()] == [key]
