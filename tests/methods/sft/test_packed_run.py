"""Packed, padding-free and grouped runs: the same loss, the same bits after a kill, every token counted."""

import shutil
import sys
from pathlib import Path
from typing import Any

import pytest

sys.path.insert(0, str(Path(__file__).parents[2] / "engine"))
sys.path.insert(0, str(Path(__file__).parent))
import packed_models as models
import tiny_stack as tiny
import torch
from safetensors.torch import load_file
from sft_runs import LORA, Case

from tunekit.errors import ActionError
from tunekit.methods.sft.run import run
from tunekit.methods.sft.spec import Sft

pytestmark = pytest.mark.torch
SPEC: dict[str, Any] = {
    "model": "model:m",
    "data": ["dataset:a"],
    "batch_size": 2,
    "max_steps": 8,
    "learning_rate": 1e-2,
    "checkpoint_steps": 1,
    "sequence_len": 64,
}
# The 21 rows fill 5 sequences of 64: three steps of two an epoch, the third of them short.
PACKED = SPEC | {"packing": True}
WAYS = {
    "packed": PACKED,
    "packed, accumulated": PACKED | {"micro_batch_size": 1, "adapter": LORA},
    "padding-free": SPEC | {"padding_free": True, "batch_size": 8},
    "grouped": SPEC | {"group_by_length": True, "batch_size": 8, "micro_batch_size": 4},
}


@pytest.fixture(scope="module")
def case(tmp_path_factory: pytest.TempPathFactory) -> Case:
    return Case(tmp_path_factory.mktemp("packed"))


@pytest.mark.parametrize("way", WAYS)
def test_interrupted_run_is_the_straight_one(case: Case, tmp_path: Path, way: str) -> None:
    """Within the first epoch, at its edge, and within the second, whose order is another."""
    straight, events = case.run(tmp_path / "straight", WAYS[way])
    for step in (2, 4, 6):
        with pytest.raises(KeyboardInterrupt):
            run(case.request(tmp_path, WAYS[way]), tiny.Interrupted(step))
    outputs, resumed = case.run(tmp_path, WAYS[way])
    assert resumed.settings["resumed_from_step"] == 5
    assert tiny.tree(outputs["main"]) == tiny.tree(straight["main"])
    assert resumed.metrics == events.metrics
    assert resumed.settings["summary"] == events.settings["summary"]


def test_an_epoch_has_every_row_once(case: Case, tmp_path: Path) -> None:
    _, events = case.run(tmp_path, PACKED | {"max_steps": 6})
    (ledger,) = events.settings["ledger"]["data"]
    figures = [f for _, f in events.metrics]
    for epoch in (figures[:3], figures[3:]):
        assert sum(f["tokens"] for f in epoch) == ledger["tokens"]
        assert sum(f["supervised_tokens"] for f in epoch) == ledger["labelled_tokens"]
    assert [f["tokens"] for f in figures[:3]] != [f["tokens"] for f in figures[3:]]


def test_what_the_record_says(case: Case, tmp_path: Path) -> None:
    _, events = case.run(tmp_path, PACKED | {"logging_steps": 3})
    rows, tokens = 21, events.settings["ledger"]["data"][0]["tokens"]
    batches = events.settings["batches"]
    assert batches == {"layout": "rows", "order": "packed", "rows": rows, "sequences": 5, "fill": tokens / 320}
    summary = events.settings["summary"]
    counts = ("tokens", "supervised_tokens", "padding_tokens")
    assert [step for step, _ in events.metrics] == [3, 6, 8]
    assert {name: sum(f[name] for _, f in events.metrics) for name in counts} == {n: summary[n] for n in counts}
    assert summary["fill"] == pytest.approx(
        summary["tokens"] / (summary["tokens"] + summary["padding_tokens"]), abs=1e-6
    )
    (gate,) = events.of("gate")
    assert gate["name"] == "packed_loss" and gate["passed"] and gate["measured"]["leaks"] == 0
    assert gate["measured"]["packed"] == pytest.approx(gate["measured"]["alone"], rel=1e-6)


def test_padding_free_is_the_padded_run(case: Case, tmp_path: Path) -> None:
    """The same rows in the same order with the same loss; only what is computed beside them differs."""
    spec = SPEC | {"batch_size": 4}
    padded, events = case.run(tmp_path / "padded", spec)
    for more in ({}, {"micro_batch_size": 2}, {"attn": "eager", "gradient_checkpointing": True}):
        free, found = case.run(tmp_path / str(len(more)) / "free", spec | more | {"padding_free": True})
        for (_, one), (_, other) in zip(found.metrics, events.metrics, strict=True):
            assert one["loss"] == pytest.approx(other["loss"], rel=1e-4)
            assert one["grad_norm"] == pytest.approx(other["grad_norm"], rel=1e-3)
            assert one["padding_tokens"] == 0
            assert (one["tokens"], one["supervised_tokens"]) == (other["tokens"], other["supervised_tokens"])
        a, b = (load_file(o["main"] / "model.safetensors") for o in (free, padded))
        for name in a:
            torch.testing.assert_close(a[name], b[name], atol=2e-3, rtol=0)
        assert found.settings["batches"]["layout"] == "flat" and found.of("gate")[0]["passed"]
    assert events.settings["summary"]["padding_tokens"] > 0 and not events.of("gate")


def test_a_packed_step_is_the_step_of_its_rows(case: Case, tmp_path: Path) -> None:
    """All 21 rows in one step, packed and padded: the same loss and gradient norm, by the number of labels."""
    figures = []
    for change in ({"packing": True, "batch_size": 5, "micro_batch_size": 1}, {"batch_size": 21}):
        _, events = case.run(tmp_path / str(len(figures)), SPEC | {"max_steps": 1} | change)
        figures.append(events.metrics[0][1])
    packed, padded = figures
    for name in ("tokens", "supervised_tokens"):
        assert packed[name] == padded[name]
    assert packed["loss"] == pytest.approx(padded["loss"], rel=1e-6)
    assert packed["grad_norm"] == pytest.approx(padded["grad_norm"], rel=1e-5)
    assert packed["padding_tokens"] < padded["padding_tokens"] / 4


def test_grouped_rows_need_less_padding(case: Case, tmp_path: Path) -> None:
    padding = {}
    for grouped in (False, True):
        _, events = case.run(tmp_path / str(grouped), SPEC | {"batch_size": 4, "group_by_length": grouped, "epochs": 1})
        padding[grouped] = events.settings["summary"]["fill"]
    assert padding[True] > padding[False] + 0.05


def test_padding_free_is_numeric(case: Case, tmp_path: Path) -> None:
    """Staging of the other layout has other bits: it is not continued."""
    with pytest.raises(KeyboardInterrupt):
        run(case.request(tmp_path, SPEC), tiny.Interrupted(4))
    _, events = case.run(tmp_path, SPEC | {"padding_free": True})
    assert events.settings["resumed_from_step"] == 0
    assert [w["fields"] for w in events.of("warning")] == [["padding_free"]]


def test_bfloat16(case: Case, tmp_path: Path) -> None:
    """SDPA with a packed mask in half precision is where others got a loss of 0 (a row that sees nothing is NaN)."""
    _, events = case.run(tmp_path, PACKED | {"adapter": LORA, "dtype": "bfloat16", "max_steps": 2})
    assert all(4 < f["loss"] < 7 and f["grad_norm"] > 0 for _, f in events.metrics)
    assert events.of("gate")[0]["passed"]


@pytest.mark.parametrize("change", [{"packing": True}, {"padding_free": True}])
def test_a_model_that_cannot_is_refused_before_the_first_step(
    case: Case, tmp_path: Path, change: dict[str, Any]
) -> None:
    base = tmp_path / "base"
    shutil.copytree(case.model, base)
    config = models.SIZES | {"vocab_size": 259, "state_size": 8}
    model = models.AutoModelForCausalLM.from_config(models.AutoConfig.for_model("mamba", **config))
    for stale in base.glob("*.safetensors"):
        stale.unlink()
    model.save_pretrained(base)
    req = case.request(tmp_path, SPEC | change, base=str(base))
    events = tiny.Recorder()
    with pytest.raises(ActionError, match="MambaForCausalLM") as found:
        run(req, events)
    assert found.value.slug == "packing-not-honoured"
    assert [gate["passed"] for gate in events.of("gate")] == [False]
    assert not events.of("metric") and not list((Path(req.staging) / "train").glob("checkpoint-*"))


def test_one_way_at_a_time() -> None:
    def problems(**change: bool) -> list[tuple[str, str, str]]:
        return Sft(model="model:m", data=["dataset:a"], **change).checks()

    assert not problems(packing=True) and not problems(padding_free=True) and not problems(group_by_length=True)
    ((key, message, hint),) = problems(packing=True, group_by_length=True)
    assert key == "group_by_length" and "`packing` and `group_by_length`" in message and hint
    ((key, message, _),) = problems(packing=True, padding_free=True, group_by_length=True)
    assert key == "padding_free" and "`group_by_length`" in message
