"""Real TRL on a tiny model: what is written, that a kill leaves no trace, that arithmetic is what was asked for."""

import json
import shutil
import signal
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

sys.path.insert(0, str(Path(__file__).parents[2] / "engine"))
sys.path.insert(0, str(Path(__file__).parent))
import tiny_stack as tiny
import torch
from safetensors.torch import load_file
from sft_runs import LORA, Case

from tunekit.errors import ActionError
from tunekit.methods.sft.run import run

pytestmark = pytest.mark.torch
SPEC: dict[str, Any] = {
    "model": "model:m",
    "data": ["dataset:a"],
    "batch_size": 4,
    "max_steps": 7,
    "learning_rate": 1e-2,
    "checkpoint_steps": 2,
}
EVALUATED = SPEC | {"eval_data": ["dataset:b"], "eval_steps": 2}


@pytest.fixture(scope="module")
def case(tmp_path_factory: pytest.TempPathFactory) -> Case:
    return Case(tmp_path_factory.mktemp("sft"))


@pytest.fixture(scope="module")
def straight(case: Case, tmp_path_factory: pytest.TempPathFactory) -> tuple[dict[str, Path], tiny.Recorder]:
    """An uninterrupted run with full weights and evaluation."""
    return case.run(tmp_path_factory.mktemp("straight"), EVALUATED)


@pytest.fixture(scope="module")
def adapter(case: Case, tmp_path_factory: pytest.TempPathFactory) -> tuple[dict[str, Path], tiny.Recorder]:
    """An uninterrupted run with an adapter that has dropout, so that random states matter."""
    return case.run(tmp_path_factory.mktemp("adapter"), SPEC | {"adapter": LORA, "logging_steps": 2})


def test_full_weights_artifact(case: Case, straight: tuple[dict[str, Path], tiny.Recorder]) -> None:
    outputs, events = straight
    assert set(outputs) == {"main", "last", "best"} and outputs["main"] == outputs["last"]
    files = tiny.tree(outputs["last"])
    assert set(files) == {
        "config.json",
        "generation_config.json",
        "model.safetensors",
        "tokenizer.json",
        "tokenizer_config.json",
    }
    config = json.loads(files["config.json"])
    assert not {"_name_or_path", "transformers_version"} & set(config) and list(config) == sorted(config)
    before, after = load_file(Path(case.model) / "model.safetensors"), load_file(outputs["last"] / "model.safetensors")
    assert before.keys() == after.keys() and not torch.equal(before["lm_head.weight"], after["lm_head.weight"])
    summary = events.settings["summary"]
    assert summary["steps"] == 7 and summary["loss"] == events.metrics[-2][1]["loss"]
    assert summary["tokens"] == 327 and events.settings["trainable"]["parameters"] == 35168
    assert [step for step, _ in events.metrics] == [1, 2, 2, 3, 4, 4, 5, 6, 6, 7, 7]
    assert events.of("progress")[-1]["done"] == 7


def test_same_bytes_in_another_folder(
    case: Case, straight: tuple[dict[str, Path], tiny.Recorder], tmp_path: Path
) -> None:
    moved = tmp_path / "elsewhere"
    shutil.copytree(case.model, moved / "m")
    outputs, events = case.run(tmp_path / "b", EVALUATED, base=str(moved / "m"))
    assert tiny.tree(outputs["last"]) == tiny.tree(straight[0]["last"])
    assert events.metrics == straight[1].metrics


def test_interrupted_run_is_the_straight_one(
    case: Case, straight: tuple[dict[str, Path], tiny.Recorder], tmp_path: Path
) -> None:
    """Interrupted twice, the second time with the newest checkpoint broken in the middle of its save."""
    req = case.request(tmp_path, EVALUATED)
    for step in (4, 6):
        with pytest.raises(KeyboardInterrupt):
            run(req, tiny.Interrupted(step))
    train = Path(req.staging) / "train"
    assert sorted(p.name for p in train.glob("checkpoint-*")) == ["checkpoint-2", "checkpoint-4"]
    (train / "checkpoint-4" / "optimizer.pt").write_bytes(b"torn")
    outputs, events = case.run(tmp_path, EVALUATED)
    assert events.settings["resumed_from_step"] == 2
    assert tiny.tree(outputs["last"]) == tiny.tree(straight[0]["last"])
    assert tiny.tree(outputs["best"]) == tiny.tree(straight[0]["best"])
    assert events.metrics == straight[1].metrics
    assert events.settings["summary"] == straight[1].settings["summary"]


def test_killed_run_is_the_straight_one(
    case: Case, adapter: tuple[dict[str, Path], tiny.Recorder], tmp_path: Path
) -> None:
    spec = SPEC | {"adapter": LORA, "logging_steps": 2}
    req = case.request(tmp_path, spec)
    (tmp_path / "request.json").write_text(req.to_json())
    script = Path(__file__).with_name("kill_at.py")
    child = subprocess.run(
        [sys.executable, str(script), str(tmp_path / "request.json"), "5"],
        cwd=Path(__file__).parents[3],
        env={"PYTHONPATH": str(Path(__file__).parents[3]), "PATH": "", "HOME": str(tmp_path), "OMP_NUM_THREADS": "1"},
        capture_output=True,
        timeout=120,
    )
    assert child.returncode == -signal.SIGKILL, child.stderr.decode()[-2000:]
    outputs, events = case.run(tmp_path, spec)
    assert events.settings["resumed_from_step"] == 4
    assert tiny.tree(outputs["main"]) == tiny.tree(adapter[0]["main"])
    assert events.metrics == adapter[1].metrics


@pytest.mark.parametrize("change", [{}, {"micro_batch_size": 2}, {"lr_scheduler": "linear", "warmup_ratio": 0.3}])
def test_resumed_at_the_edge_of_an_epoch(case: Case, tmp_path: Path, change: dict[str, Any]) -> None:
    """Six steps are an epoch here; the last one has a short batch."""
    spec = SPEC | {"adapter": LORA, "max_steps": 9} | change
    straight, events = case.run(tmp_path / "straight", spec)
    with pytest.raises(KeyboardInterrupt):
        run(case.request(tmp_path, spec), tiny.Interrupted(7))
    outputs, resumed = case.run(tmp_path, spec)
    assert resumed.settings["resumed_from_step"] == 6
    assert tiny.tree(outputs["main"]) == tiny.tree(straight["main"])
    assert resumed.metrics == events.metrics


def test_other_numeric_settings_start_over(case: Case, tmp_path: Path) -> None:
    spec = SPEC | {"adapter": LORA}
    with pytest.raises(KeyboardInterrupt):
        run(case.request(tmp_path, spec), tiny.Interrupted(4))
    _, events = case.run(tmp_path, spec | {"micro_batch_size": 2})
    assert events.settings["resumed_from_step"] == 0
    (warning,) = events.of("warning")
    assert warning["slug"] == "staging-discarded" and warning["fields"] == ["micro_batch_size"]


def test_finished_early_is_the_last_checkpoint(case: Case, tmp_path: Path) -> None:
    """No step is taken: the weights are the checkpoint's, byte for byte, and the history ends there."""
    spec = SPEC | {"adapter": LORA}
    req = case.request(tmp_path, spec)
    with pytest.raises(KeyboardInterrupt):
        run(req, tiny.Interrupted(5))
    kept = load_file(Path(req.staging) / "train" / "checkpoint-4" / "adapter_model.safetensors")
    events = tiny.Recorder()
    assert run(req._replace(finish=True), events) == {"main": "last", "last": "last"}
    found = load_file(Path(req.out) / "last" / "adapter_model.safetensors")
    assert found.keys() == kept.keys() and all(torch.equal(found[name], kept[name]) for name in kept)
    assert events.settings["finished_early"] == {"step": 4, "of": 7}
    assert events.settings["summary"]["steps"] == 4 and [step for step, _ in events.metrics] == [1, 2, 3, 4]
    assert not events.of("progress"), "no step was taken"


def test_finished_early_keeps_the_best_up_to_there(case: Case, tmp_path: Path) -> None:
    """Evaluated where it ends, unless that was done; the best is that of the steps that count."""
    spec = EVALUATED | {"keep": "best", "learning_rate": 0.3, "lr_scheduler": "constant", "checkpoint_steps": 3}
    req = case.request(tmp_path, spec)
    with pytest.raises(KeyboardInterrupt):
        run(req, tiny.Interrupted(5))
    checkpoint = Path(req.staging) / "train" / "checkpoint-3"
    events = tiny.Recorder()
    roles = run(req._replace(finish=True), events)
    losses = {step: figures["eval_loss"] for step, figures in events.metrics if "eval_loss" in figures}
    assert sorted(losses) == [2, 3]
    summary = events.settings["summary"]
    assert summary["best_eval_loss"] == min(losses.values()) == losses[summary["best_step"]]
    assert roles["main"] == roles["best"]
    last = load_file(Path(req.out) / "last" / "model.safetensors")
    assert all(torch.equal(last[name], value) for name, value in load_file(checkpoint / "model.safetensors").items())


def test_finishing_needs_a_whole_checkpoint(case: Case, tmp_path: Path) -> None:
    req = case.request(tmp_path, SPEC)
    with pytest.raises(KeyboardInterrupt):
        run(req, tiny.Interrupted(3))
    (Path(req.staging) / "train" / "checkpoint-2" / "optimizer.pt").write_bytes(b"torn")
    with pytest.raises(ActionError, match="no whole checkpoint") as found:
        run(req._replace(finish=True), tiny.Recorder())
    assert found.value.slug == "no-checkpoint" and "without --finish" in found.value.hint


def test_finished_under_other_numeric_settings(case: Case, tmp_path: Path) -> None:
    """No bits are mixed, so nothing is thrown away; the record tells the settings of the steps that were taken."""
    spec = SPEC | {"adapter": LORA}
    with pytest.raises(KeyboardInterrupt):
        run(case.request(tmp_path, spec), tiny.Interrupted(4))
    events = tiny.Recorder()
    run(case.request(tmp_path, spec | {"micro_batch_size": 2})._replace(finish=True), events)
    assert events.settings["finished_early"]["step"] == 2 and not events.of("warning")
    assert events.settings["micro_batch_size"] == 4
    assert events.settings["batch"] == {"size": 4, "micro": 4, "accumulation": 1, "world": 1}


def test_adapter_artifact(adapter: tuple[dict[str, Path], tiny.Recorder]) -> None:
    files = tiny.tree(adapter[0]["main"])
    assert set(files) == {"adapter_config.json", "adapter_model.safetensors"}
    config = json.loads(files["adapter_config.json"])
    assert config["base_model_name_or_path"] == "model:tiny"
    assert config["target_modules"] == sorted(config["target_modules"]) and "lm_head" not in config["target_modules"]
    assert (config["r"], config["lora_alpha"], config["lora_dropout"], config["bias"]) == (4, 8, 0.1, "none")
    settings = adapter[1].settings
    assert settings["adapter"] and settings["trainable"]["parameters"] < settings["trainable"]["of"] / 3
    assert [step for step, _ in adapter[1].metrics] == [2, 4, 6, 7]


def test_adapter_is_continued(case: Case, adapter: tuple[dict[str, Path], tiny.Recorder], tmp_path: Path) -> None:
    """Its first loss is where the first run ended, and what comes out is the same adapter, trained further."""
    first = adapter[0]["main"]
    outputs, _ = case.run(tmp_path, SPEC | {"max_steps": 1, "learning_rate": 1e-6}, adapter=str(first))
    before, after = (load_file(p / "adapter_model.safetensors") for p in (first, outputs["main"]))
    assert before.keys() == after.keys()
    change = max((before[k] - after[k]).abs().max().item() for k in before)
    assert 0 < change < 1e-4
    assert tiny.tree(first)["adapter_config.json"] == tiny.tree(outputs["main"])["adapter_config.json"]


def test_accumulation_is_the_full_batch(
    case: Case, straight: tuple[dict[str, Path], tiny.Recorder], tmp_path: Path
) -> None:
    outputs, events = case.run(tmp_path, EVALUATED | {"micro_batch_size": 1, "gradient_checkpointing": True})
    assert events.settings["batch"] == {"size": 4, "micro": 1, "accumulation": 4, "world": 1}
    for (step, one), (other_step, other) in zip(events.metrics, straight[1].metrics, strict=True):
        assert step == other_step
        for name in {"loss", "eval_loss", "grad_norm"} & set(one):
            assert one[name] == pytest.approx(other[name], rel=2e-4), (step, name)
    assert tiny.tree(outputs["last"])["config.json"] == tiny.tree(straight[0]["last"])["config.json"]
    a, b = (load_file(o["last"] / "model.safetensors") for o in (outputs, straight[0]))
    for name in a:
        torch.testing.assert_close(a[name], b[name], atol=2e-3, rtol=0)


def test_best_is_kept(case: Case, tmp_path: Path) -> None:
    spec = EVALUATED | {"keep": "best", "learning_rate": 0.3, "lr_scheduler": "constant", "checkpoint_steps": 1}
    outputs, events = case.run(tmp_path, spec)
    summary = events.settings["summary"]
    losses = {step: f["eval_loss"] for step, f in events.metrics if "eval_loss" in f}
    assert summary["best_eval_loss"] == min(losses.values()) == losses[summary["best_step"]] < summary["eval_loss"]
    assert outputs["main"] == outputs["best"] != outputs["last"]
    assert set(tiny.tree(outputs["best"])) == set(tiny.tree(outputs["last"]))
    assert tiny.tree(outputs["best"]) != tiny.tree(outputs["last"])
    # Checkpoints 5 and 6 are left, so a resume may still come back to the best before 5.
    assert {p.name for p in (tmp_path / "staging" / "train").glob("best-*")} == {"best-2", "best-6"}


def test_bfloat16(case: Case, tmp_path: Path) -> None:
    _, events = case.run(tmp_path, SPEC | {"adapter": LORA, "dtype": "bfloat16", "max_steps": 2})
    assert events.settings["dtype"] == {"frozen": "bfloat16", "trained": "float32"}


@pytest.mark.parametrize(
    ("change", "slug"),
    [
        ({"attn": "flash_attention_2"}, "attention-unavailable"),
        ({"sequence_len": 8}, "row-too-long"),
        ({"micro_batch_size": 3}, "batch-remainder"),
        ({"adapter": LORA | {"target_modules": ["q_proj", "v_prj"]}}, "no-target-modules"),
        ({"adapter": LORA | {"target_modules": ["lm_head"]}}, "trainer-refused"),
        ({"learning_rate": 1e30, "max_grad_norm": 0, "health": "off"}, "diverged"),
    ],
)
def test_what_cannot_take_effect_is_an_error(case: Case, tmp_path: Path, change: dict[str, Any], slug: str) -> None:
    with pytest.raises(ActionError) as found:
        case.run(tmp_path, SPEC | change)
    assert found.value.slug == slug
    if slug == "no-target-modules":
        assert "v_proj" in found.value.hint


def test_attention_that_was_asked_for(case: Case, tmp_path: Path) -> None:
    _, events = case.run(tmp_path, SPEC | {"attn": "eager", "max_steps": 1, "sequence_len": 8, "overlong": "split"})
    assert events.settings["attn"] == "eager"
    (ledger,) = events.settings["ledger"]["data"]
    assert ledger["split"] > 0 and ledger["labelled_tokens"] == 194
    (warning,) = [e for e in events.of("warning") if e["slug"] == "overlong"]
    assert f"{ledger['split']} rows longer than sequence_len 8 were split" in warning["message"]
    assert warning["rows"] == ledger["long_rows"] and len(ledger["long_rows"]) == min(ledger["split"], 20)
