"""Every optimizer of the table that runs here, on a real run: it trains, and an interruption leaves no trace."""

import math
import sys
from pathlib import Path
from typing import Any, get_args

import pytest

sys.path.insert(0, str(Path(__file__).parents[1] / "methods" / "sft"))
sys.path.insert(0, str(Path(__file__).parent))
import tiny_stack as tiny
import torch
from safetensors.torch import load_file
from sft_runs import LORA, Case
from trl import SFTConfig

from tunekit.engine import optimizers
from tunekit.engine.arguments import training_arguments
from tunekit.errors import ActionError
from tunekit.methods.optimizers import NEEDS, Optimizer, lacking
from tunekit.methods.sft.run import run
from tunekit.methods.sft.spec import Sft

pytestmark = pytest.mark.torch
SPEC: dict[str, Any] = {
    "model": "model:m",
    "data": ["dataset:a"],
    "batch_size": 4,
    "max_steps": 4,
    "learning_rate": 1e-3,
    "checkpoint_steps": 2,
    "weight_decay": 0.1,
}
COMPILED = ("adamw_torch_8bit", "adamw_torch_4bit", "ao_adamw_fp8")  # by a C++ compiler, in half a minute
HERE = [name for name, needs in NEEDS.items() if not needs.cuda]


def of(name: str) -> dict[str, Any]:
    return {"optimizer": name} | ({} if NEEDS[name].scheduled else {"lr_scheduler": "constant"})


@pytest.fixture(scope="module")
def case(tmp_path_factory: pytest.TempPathFactory) -> Case:
    return Case(tmp_path_factory.mktemp("optimizers"))


def test_the_table_is_the_literal() -> None:
    assert list(NEEDS) == list(get_args(Optimizer))


def a_step(model: Any, step: int) -> None:
    """Gradients of the loss on random tokens."""
    torch.manual_seed(step)
    ids = torch.randint(3, 60, (2, 8))
    model.zero_grad()
    model(input_ids=ids, labels=ids).loss.backward()


def made_by(case: Case, folder: Path, spec: Sft, events: tiny.Recorder, steps: int = 10) -> tuple[Any, Any]:
    """A trainer that takes no step, and its optimizer."""
    from transformers import AutoModelForCausalLM, Trainer

    model = AutoModelForCausalLM.from_pretrained(case.model)
    trainer = Trainer(model, training_arguments(SFTConfig, spec, tiny.request(folder, "run.sft", {})))
    trainer.state.max_steps = steps
    trainer.optimizer = optimizers.Maker(spec, trainer, events)(model)
    return trainer, trainer.optimizer


@pytest.mark.parametrize("name", [pytest.param(n, marks=pytest.mark.long) if n in COMPILED else n for n in HERE])
def test_steps_and_continues(case: Case, tmp_path: Path, name: str) -> None:
    """Of what the table names: that class, it moves weights, and its state on the disk is all it needs."""
    if package := lacking(name):
        pytest.skip(f"{package} is not installed")
    spec = Sft(model="model:m", data=["dataset:a"], learning_rate=1e-3, weight_decay=0.1, **of(name))
    events = tiny.Recorder()
    trainer, straight = made_by(case, tmp_path, spec, events)
    model = trainer.model
    if not NEEDS[name].scheduled:
        straight.train()
    before = {n: p.detach().clone() for n, p in model.named_parameters()}
    for step in range(6):
        a_step(model, step)
        straight.step()
        if step == 2:
            torch.save([model.state_dict(), straight.state_dict()], tmp_path / "state.pt")
    moved = {n for n, p in model.named_parameters() if not torch.equal(p, before[n])}
    assert moved == before.keys()
    trainer, resumed = made_by(case, tmp_path, spec, events)
    again = trainer.model
    weights, state = torch.load(tmp_path / "state.pt", weights_only=False)
    again.load_state_dict(weights)
    resumed.load_state_dict(state)
    for step in range(3, 6):
        a_step(again, step)
        resumed.step()
    assert all(torch.equal(a, b) for a, b in zip(model.parameters(), again.parameters(), strict=True))
    module = events.settings["optimizer"]["class"]
    assert NEEDS[name].package.replace("-", "_").removeprefix("torch_").split("_")[0] in module


@pytest.mark.parametrize("name", [n if n == "muon" else pytest.param(n, marks=pytest.mark.long) for n in HERE])
def test_an_interrupted_run_is_the_straight_one(case: Case, tmp_path: Path, name: str) -> None:
    if package := lacking(name):
        pytest.skip(f"{package} is not installed")
    spec = SPEC | of(name)
    straight, events = case.run(tmp_path / "straight", spec)
    with pytest.raises(KeyboardInterrupt):
        run(case.request(tmp_path, spec), tiny.Interrupted(3))
    outputs, resumed = case.run(tmp_path, spec)
    assert resumed.settings["resumed_from_step"] == 2
    assert tiny.tree(outputs["last"]) == tiny.tree(straight["last"])
    assert resumed.metrics == events.metrics


def test_schedule_free_evaluates_and_saves_the_average(case: Case, tmp_path: Path) -> None:
    """The loss of the saved weights is the evaluation loss, and the best of a run that is interrupted is the same."""
    spec = SPEC | of("schedule_free_adamw") | {"eval_data": ["dataset:b"], "eval_steps": 2, "learning_rate": 1e-2}
    straight, events = case.run(tmp_path / "straight", spec)
    losses = [figures["eval_loss"] for _, figures in events.metrics if "eval_loss" in figures]
    base = {"base": str(straight["last"])}
    _, again = case.run(tmp_path / "again", spec | {"learning_rate": 1e-12, "max_steps": 1}, **base)
    assert again.metrics[-1][1]["eval_loss"] == pytest.approx(losses[-1], abs=1e-6)
    with pytest.raises(KeyboardInterrupt):
        run(case.request(tmp_path, spec), tiny.Interrupted(3))
    outputs, resumed = case.run(tmp_path, spec)
    assert resumed.settings["resumed_from_step"] == 2 and resumed.metrics == events.metrics
    assert tiny.tree(outputs["best"]) == tiny.tree(straight["best"])


@pytest.mark.parametrize("name", [name for name, needs in NEEDS.items() if needs.cuda])
def test_a_gpu_is_asked_for_before_anything_is_loaded(case: Case, tmp_path: Path, name: str) -> None:
    if torch.cuda.is_available():
        pytest.skip("there is one")
    with pytest.raises(ActionError) as found:
        case.run(tmp_path, SPEC | of(name), base="/nowhere")
    assert found.value.slug == ("optimizer-not-installed" if lacking(name) else "optimizer-needs-gpu")


def test_what_is_not_installed(case: Case, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(NEEDS, "came", NEEDS["came"]._replace(package="no-such-distribution"))
    with pytest.raises(ActionError) as found:
        case.run(tmp_path, SPEC | of("came"), base="/nowhere")
    assert (found.value.slug, found.value.hint) == ("optimizer-not-installed", "pip install no-such-distribution")


def test_the_default_is_transformers_own(case: Case, tmp_path: Path) -> None:
    """The same groups, and the same weights after some steps, bit by bit."""
    spec = Sft(model="model:m", data=["dataset:a"], learning_rate=1e-2, weight_decay=0.1)
    events = tiny.Recorder()
    trainer, ours = made_by(case, tmp_path, spec, events)
    theirs, _ = made_by(case, tmp_path, spec, events)
    theirs.optimizer = None
    theirs.create_optimizer()
    assert type(ours) is type(theirs.optimizer)
    for step in range(3):
        for model, optimizer in ((trainer.model, ours), (theirs.model, theirs.optimizer)):
            a_step(model, step)
            optimizer.step()
    assert all(torch.equal(a, b) for a, b in zip(trainer.model.parameters(), theirs.model.parameters(), strict=True))
    groups = events.settings["optimizer"]["groups"]
    assert [g["weight_decay"] for g in groups] == [0.1, 0.0] and groups[1]["tensors"] == 5


def test_learning_rates_by_name(case: Case, tmp_path: Path) -> None:
    rates = {r"model\.layers\.0\..*": 1e-9, "lm_head.*": 1e-12}
    spec = SPEC | {"learning_rates": rates, "weight_decay": 0.0, "learning_rate": 1e-2}
    outputs, events = case.run(tmp_path, spec)
    before, after = load_file(Path(case.model) / "model.safetensors"), load_file(outputs["last"] / "model.safetensors")
    moved = {name: (after[name] - before[name]).abs().max().item() for name in before}
    assert moved["model.layers.0.mlp.up_proj.weight"] < 1e-7 and moved["lm_head.weight"] < 1e-10
    assert moved["model.layers.1.mlp.up_proj.weight"] > 1e-3
    groups = events.settings["optimizer"]["groups"]
    assert [g.get("of", "") for g in groups] == ["", "", r"model\.layers\.0\..*", r"model\.layers\.0\..*", "lm_head.*"]
    assert sum(g["parameters"] for g in groups) == events.settings["trainable"]["parameters"]
    assert events.metrics[0][1]["learning_rate"] == 1e-2  # the run's own


def test_loraplus_is_pefts(case: Case, tmp_path: Path) -> None:
    """The same weights as with PEFT's own optimizer for LoRA+, over a few steps."""
    adapter = LORA | {"dropout": 0.0, "loraplus_lr_ratio": 16.0}
    spec = SPEC | {"adapter": adapter, "weight_decay": 0.0, "max_steps": 3, "lr_scheduler": "constant"}
    outputs, events = case.run(tmp_path, spec)
    assert [g.get("of", "") for g in events.settings["optimizer"]["groups"]] == ["", "loraplus"]
    assert events.settings["optimizer"]["groups"][1]["learning_rate"] == pytest.approx(1.6e-2)
    ours = load_file(outputs["last"] / "adapter_model.safetensors")

    class Theirs(optimizers.Maker):
        def __call__(self, model: Any) -> torch.optim.Optimizer:
            from peft.optimizers import create_loraplus_optimizer

            return create_loraplus_optimizer(model, torch.optim.AdamW, lr=1e-3, loraplus_lr_ratio=16.0)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("tunekit.engine.training.Maker", Theirs)
        theirs, _ = case.run(tmp_path / "peft", spec)
    expected = load_file(theirs["last"] / "adapter_model.safetensors")
    assert ours.keys() == expected.keys() and all(torch.equal(ours[name], expected[name]) for name in ours)


@pytest.mark.parametrize(
    ("change", "slug", "said"),
    [
        ({"learning_rates": {"q_proj": 1e-3}}, "learning-rates-no-match", "names look like"),
        ({"learning_rates": {"(": 1e-3}}, "learning-rates-no-match", ""),
        ({"learning_rates": {".*q_proj.*": 1e-3, ".*layers.*": 1e-4}}, "learning-rates-overlap", "one learning rate"),
        ({"optimizer": "sgd", "optimizer_args": {"momentun": 0.9}}, "unknown-optimizer-argument", "`momentum`"),
        ({"optimizer": "sgd", "optimizer_args": {"momentum": -1.0}}, "optimizer-refused", ""),
    ],
)
def test_what_is_wrong_is_named(case: Case, tmp_path: Path, change: dict[str, Any], slug: str, said: str) -> None:
    with pytest.raises(ActionError) as found:
        case.run(tmp_path, SPEC | change)
    assert found.value.slug == slug and said in found.value.hint


def test_arguments_reach_the_optimizer(case: Case, tmp_path: Path) -> None:
    spec = SPEC | {"optimizer": "sgd", "max_steps": 3, "lr_scheduler": "constant", "learning_rate": 0.1}
    plain, _ = case.run(tmp_path / "plain", spec)
    heavy, events = case.run(tmp_path / "heavy", spec | {"optimizer_args": {"momentum": 0.9}})
    assert events.settings["optimizer"]["arguments"] == {"momentum": 0.9}
    assert tiny.tree(plain["last"]) != tiny.tree(heavy["last"])


@pytest.mark.parametrize(
    ("change", "expected"),
    [
        ({"lr_scheduler": "constant_with_warmup", "warmup_steps": 4}, [0, 0.25, 0.5, 0.75, 1, 1, 1, 1, 1, 1]),
        ({"lr_scheduler": "linear", "warmup_ratio": 0.2}, [0, 0.5, 1, 7 / 8, 6 / 8, 5 / 8, 4 / 8, 3 / 8, 2 / 8, 1 / 8]),
        (
            {"lr_scheduler": "warmup_stable_decay", "warmup_steps": 2, "decay_ratio": 0.4, "min_lr_ratio": 0.1},
            [0.1, 0.55, 1, 1, 1, 1]  # half a cosine down to the floor
            + [0.1 + 0.9 * 0.5 * (1 + math.cos(math.pi * i / 4)) for i in range(4)],
        ),
        (
            {"lr_scheduler": "cosine_with_min_lr", "min_lr_ratio": 0.2},
            [0.2 + 0.8 * 0.5 * (1 + math.cos(math.pi * i / 10)) for i in range(10)],
        ),
    ],
)
def test_schedules(case: Case, tmp_path: Path, change: dict[str, Any], expected: list[float]) -> None:
    events = tiny.Recorder()
    trainer, _ = made_by(case, tmp_path, Sft(model="m", data=["d"], learning_rate=1e-3, **change), events)
    schedule, rates = trainer.create_scheduler(10), []
    for _ in range(10):
        rates += schedule.get_last_lr()[:1]
        trainer.optimizer.step()
        schedule.step()
    assert rates == pytest.approx([1e-3 * share for share in expected])
    assert events.settings["schedule"]["steps"] == 10


def test_names_are_the_models() -> None:
    assert optimizers.plain_name("base_model.model.model.layers.0.q_proj.lora_A.default.weight") == (
        "model.layers.0.q_proj.lora_A.weight"
    )
    assert optimizers.plain_name("base_model.model.lm_head.modules_to_save.default.weight") == "lm_head.weight"
    assert optimizers.plain_name("base_model.model.model.x.base_layer.weight") == "model.x.weight"
