"""DPO and IPO beside a plain TRL script, resumed, and learning; and the reference that they stand on."""

import inspect
import sys
from pathlib import Path
from typing import Any

import pytest

sys.path.insert(0, str(Path(__file__).parents[1]))
import torch
from pair_rows import PAIRED, Row, logps, pair_tokens, pairs
from referenced import reference, text_pairs, text_tokens, trl_steps, with_digest
from safetensors.numpy import load_file
from tiny_room import BARE, LORA, Room, assert_same_steps, first_steps, plain_model, plain_steps, tiny
from torch.nn.functional import logsigmoid
from trl import DPOConfig, DPOTrainer

import tunekit.methods.pairwise.run as pairwise
from tunekit.engine.adapters import with_new_adapter
from tunekit.errors import ActionError
from tunekit.methods.dpo.run import run
from tunekit.methods.ipo.run import run as run_ipo
from tunekit.spec import plain
from tunekit.steps.adapter.spec import Adapter
from tunekit.steps.reference.run import run as score
from tunekit.steps.reference.spec import changed_by

pytestmark = pytest.mark.torch
SIDES = ["chosen", "rejected"]
SCORED = {"data": [{}], "sequence_len": 1024}
STILL = LORA | {"dropout": 0.0}
SHARP = {"beta": 0.5}


@pytest.fixture(scope="module")
def room(tmp_path_factory: pytest.TempPathFactory) -> Room:
    return Room(tmp_path_factory.mktemp("dpo"), "run.dpo", run)


@pytest.fixture(scope="module")
def ipo(tmp_path_factory: pytest.TempPathFactory) -> Room:
    return Room(tmp_path_factory.mktemp("ipo"), "run.ipo", run_ipo)


TEXT = text_pairs(11, 0)


@pytest.fixture(scope="module")
def talk(room: Room) -> dict[str, str]:
    """Inputs of a run on 11 pairs of text."""
    tokens = text_tokens(room, "talk", [TEXT], "preference", SIDES)
    return {"tokens": tokens, "reference": reference(room, room.root / "talked", SCORED, tokens=tokens)}


CASES: list[tuple[str, dict[str, Any], dict[str, Any]]] = [
    ("dpo", {}, {}),
    ("dpo", SHARP | {"micro_batch_size": 4, "adapter": STILL}, SHARP),
    (
        "dpo",
        SHARP | {"padding_free": True, "micro_batch_size": 4, "use_weighting": True},
        SHARP | {"use_weighting": True},
    ),
    ("dpo", {"norm": True, "micro_batch_size": 2}, {"loss_type": "sigmoid_norm"}),
    ("dpo", {"use_weighting": True, "micro_batch_size": 4}, {"use_weighting": True}),
    ("dpo", {"loss": "robust", "label_smoothing": 0.2}, {"loss_type": "robust", "label_smoothing": 0.2}),
    ("ipo", SHARP | {"micro_batch_size": 4}, SHARP | {"loss_type": "ipo"}),
]


@pytest.mark.parametrize(("method", "said", "theirs"), CASES)
def test_first_steps_are_those_of_a_plain_trl_script(
    room: Room,
    ipo: Room,
    talk: dict[str, str],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    method: str,
    said: dict[str, Any],
    theirs: dict[str, Any],
) -> None:
    """From the same texts, with TRL's tokens and masks and its own copy of the policy as reference; however the 11
    pairs of a step are cut."""
    spec = PAIRED | BARE | {"batch_size": 12, "learning_rate": 1e-3} | said
    which = room if method == "dpo" else ipo
    found = first_steps(monkeypatch, pairwise, lambda: which.run(tmp_path / "ours", spec, base=room.model, **talk)[1])
    model = plain_model(room.model)
    if "adapter" in said:
        model = with_new_adapter(model, Adapter(**{k: v for k, v in STILL.items() if k != "method"}), 42, room.model)
    want, trainer = trl_steps(room, DPOTrainer, DPOConfig, model, TEXT, tmp_path / "theirs", **theirs)
    assert_same_steps(found, want)
    assert trainer.state.log_history[0]["rewards/accuracies"] == 0.0, "it begins at its own reference"


def dpo(model: Any, base: Any, rows: list[Row], beta: float, smoothing: float) -> torch.Tensor:
    """Of whole rows, one by one: no padding, no batch."""
    losses = []
    for row in rows:
        ratios = []
        for answer in (row.chosen, row.rejected):
            with torch.no_grad():
                was = logps(base, row.prompt, answer)[-len(answer) :].sum()
            ratios.append(logps(model, row.prompt, answer)[-len(answer) :].sum() - was)
        ahead = beta * (ratios[0] - ratios[1])
        losses.append(-(1 - smoothing) * logsigmoid(ahead) - smoothing * logsigmoid(-ahead))
    return torch.stack(losses).mean()


def test_label_smoothing_is_that_of_the_formula(room: Room, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    rows = pairs(11, 0)
    tokens = pair_tokens(room, "smooth", rows)
    scored = reference(room, tmp_path / "reference", SCORED, tokens=tokens)
    spec = PAIRED | BARE | SHARP | {"batch_size": 12, "micro_batch_size": 4, "label_smoothing": 0.2}
    found = first_steps(monkeypatch, pairwise, lambda: room.run(tmp_path, spec, tokens=tokens, reference=scored)[1])
    base = plain_model(room.model).eval()
    want = plain_steps(plain_model(room.model), lambda m: dpo(m, base, rows, 0.5, 0.2), 3, BARE["learning_rate"])
    assert_same_steps(found, want)


def test_resume_is_exact(room: Room, tmp_path: Path) -> None:
    spec = PAIRED | {"batch_size": 4, "max_steps": 7, "checkpoint_steps": 2, "learning_rate": 1e-2, "adapter": LORA}
    tokens = pair_tokens(room, "resume", pairs(14, 1), pairs(5, 2))
    evaluated = {"eval_data": ["dataset:b"], "eval_steps": 2}
    scored = reference(room, tmp_path / "reference", SCORED | {"eval_data": [{}]}, tokens=tokens)
    events = room.check_resume(tmp_path, spec | evaluated, 5, 4, tokens=tokens, reference=scored)
    assert events.settings["rows"] == {"train": 14, "evaluated": 5}
    (gate,) = events.of("gate")
    assert gate["name"] == "reference" and gate["passed"] and gate["measured"]["difference"] < 1e-5


def test_it_learns(room: Room, ipo: Room, tmp_path: Path) -> None:
    """Held-out pairs: by how much the policy prefers the chosen answer more than its start did."""
    held_out = pairs(30, 4)
    tokens = pair_tokens(room, "learns", pairs(120, 3), held_out)
    scored = reference(room, tmp_path / "reference", SCORED | {"eval_data": [{}]}, tokens=tokens)
    spec = PAIRED | {
        "batch_size": 8,
        "max_steps": 60,
        "learning_rate": 1e-2,
        "eval_data": ["dataset:b"],
        "eval_steps": 20,
    }
    for which in (room, ipo):
        outputs, events = which.run(tmp_path / which.kind, spec, base=room.model, tokens=tokens, reference=scored)
        points = [figures for _, figures in events.metrics if "eval_loss" in figures]
        assert points[-1]["eval_rewards/accuracies"] > 0.9 and points[-1]["eval_rewards/margins"] > 0.1
        assert points[-1]["eval_loss"] < points[0]["eval_loss"]
        if which is room:
            model, base = (plain_model(str(path)).eval() for path in (outputs["last"], room.model))
            with torch.no_grad():
                assert points[-1]["eval_loss"] == pytest.approx(dpo(model, base, held_out, 0.1, 0.0).item(), rel=1e-3)


def test_an_adapter_is_continued_against_its_own_start(room: Room, tmp_path: Path) -> None:
    rows = pairs(8, 5)
    tokens = pair_tokens(room, "continued", rows)
    spec = PAIRED | {"batch_size": 8, "max_steps": 3, "learning_rate": 1e-2}
    scored = reference(room, tmp_path / "first", SCORED, tokens=tokens)
    outputs, _ = room.run(tmp_path / "a", spec | {"adapter": STILL}, tokens=tokens, reference=scored)
    adapter = str(outputs["last"])
    with pytest.raises(ActionError, match="training begins with") as found:
        room.run(tmp_path / "b", spec, tokens=tokens, reference=scored, adapter=adapter)
    assert found.value.slug == "reference-mismatch"
    again = reference(room, tmp_path / "second", SCORED, tokens=tokens, adapter=adapter)
    outputs, events = room.run(tmp_path / "c", spec, tokens=tokens, reference=again, adapter=adapter)
    assert events.metrics[0][1]["rewards/margins"] == pytest.approx(0, abs=1e-4)
    assert {p.name for p in outputs["last"].iterdir()} == {"adapter_config.json", "adapter_model.safetensors"}
    assert not any(".ref." in name for name in load_file(outputs["last"] / "adapter_model.safetensors"))


@pytest.mark.parametrize("init", ["default", "loftq"])
def test_a_quantized_base_is_its_own_reference(room: Room, tmp_path: Path, init: str) -> None:
    """What the policy begins with is the base in 4 bits; one that was not quantized is another."""
    pytest.importorskip("bitsandbytes")
    tokens = pair_tokens(room, f"quantized-{init}", pairs(8, 5))
    adapter = STILL | {"quantize": "nf4", "init": init}
    declared = Adapter(**{k: v for k, v in adapter.items() if k != "method"})
    change = changed_by(declared)
    assert change is not None and (change.r == declared.r) == (init == "loftq")
    spec = PAIRED | {"batch_size": 8, "max_steps": 2, "learning_rate": 1e-2, "adapter": adapter}
    scored = reference(room, tmp_path / "reference", SCORED | {"adapter": plain(change)}, tokens=tokens)
    _, events = room.run(tmp_path / "right", spec, tokens=tokens, reference=scored)
    (gate,) = events.of("gate")
    assert gate["passed"] and events.metrics[0][1]["rewards/margins"] == pytest.approx(0, abs=1e-3)
    whole = reference(room, tmp_path / "whole", SCORED, tokens=tokens)
    with pytest.raises(ActionError, match="the policy at the start differs"):
        room.run(tmp_path / "wrong", spec, tokens=tokens, reference=whole)


def test_the_reference_is_what_each_row_has(room: Room, tmp_path: Path) -> None:
    rows = pairs(9, 6)
    tokens = pair_tokens(room, "scored", rows)
    found = load_file(
        Path(reference(room, tmp_path, SCORED | {"micro_batch_size": 2}, tokens=tokens)) / "reference.safetensors"
    )
    base = plain_model(room.model).eval()
    with torch.no_grad():
        for row, both in zip(rows, found["data"].tolist(), strict=True):
            want = [logps(base, row.prompt, a)[-len(a) :].sum().item() for a in (row.chosen, row.rejected)]
            assert both == pytest.approx(want, rel=1e-5)


def test_a_wrong_reference_is_an_error(room: Room, talk: dict[str, str], tmp_path: Path) -> None:
    """Other rows, another number of them, another policy by name, and one whose weights are not what they say."""
    spec = PAIRED | BARE | {"batch_size": 12}
    other = pair_tokens(room, "others", pairs(11, 7))
    fewer = pair_tokens(room, "fewer", pairs(10, 7))
    for number, tokens in enumerate((other, fewer)):
        with pytest.raises(ActionError, match="does not belong to this run") as found:
            room.run(tmp_path / str(number), spec, **(talk | {"tokens": tokens}))
        assert found.value.slug == "reference-mismatch"
    req = with_digest(room.request(tmp_path / "policy", spec, **talk), "base", "sha256:" + "2" * 64)
    with pytest.raises(ActionError, match="training begins with"):
        run(req, tiny.Recorder())
    events = tiny.Recorder()
    req = room.request(tmp_path / "weights", spec, **(talk | {"base": room.new_model("stranger", 7)}))
    with pytest.raises(ActionError, match="the policy at the start differs"):
        run(req, events)
    (gate,) = events.of("gate")
    assert not gate["passed"] and gate["measured"]["difference"] > 1e-3


def test_another_policy_may_be_the_reference(room: Room, talk: dict[str, str], tmp_path: Path) -> None:
    """Then nothing is to be equal at the start."""
    stranger = room.new_model("teacher", 9)
    tokens = talk["tokens"]
    made = tiny.request(tmp_path / "r", "reference", SCORED, base=stranger, tokens=tokens)
    score(with_digest(made, "base", "sha256:" + "3" * 64), tiny.Recorder())
    inputs = {"tokens": tokens, "reference": str(Path(made.out) / "main")}
    _, events = room.run(tmp_path / "run", PAIRED | BARE | {"reference": "model:teacher"}, **inputs)
    assert not events.of("gate")
    assert abs(events.metrics[0][1]["rewards/margins"]) > 1e-6


def test_evaluation_does_not_depend_on_the_batch(room: Room, tmp_path: Path) -> None:
    tokens = pair_tokens(room, "eval", pairs(4, 5), pairs(7, 6))
    scored = reference(room, tmp_path / "reference", SCORED | {"eval_data": [{}]}, tokens=tokens)
    spec = PAIRED | {"batch_size": 4, "max_steps": 2, "learning_rate": 1e-2, "eval_data": ["dataset:b"]}
    found = []
    for micro, flat in ((4, False), (1, False), (2, True)):
        said = spec | {"micro_batch_size": micro, "padding_free": flat}
        _, events = room.run(tmp_path / str(micro), said, tokens=tokens, reference=scored)
        (figures,) = [f for _, f in events.metrics if "eval_loss" in f]
        found.append(figures)
        assert [gate["name"] for gate in events.of("gate")] == ["reference", *(["packed_loss"] if flat else [])]
    assert found[0] == pytest.approx(found[1], rel=1e-3, abs=1e-5)
    assert found[0] == pytest.approx(found[2], rel=1e-3, abs=1e-5)


def test_what_trl_does_when_it_is_made_is_what_we_put_ourselves_in_place_of() -> None:
    """The seams: its preparation of datasets and its reference, which a new version may move."""
    made = inspect.getsource(DPOTrainer.__init__)
    assert made.count("self._prepare_dataset(") == 3 and made.count("self._precompute_ref_logps(") == 3
    assert 'model.add_adapter("ref", default_config)' in made
    loss = inspect.getsource(DPOTrainer._compute_loss)
    assert 'inputs["ref_chosen_logps"], inputs["ref_rejected_logps"]' in loss
    assert "self.precompute_ref_logps" in loss
