"""Distillation beside its formula in plain torch, resumed, and learning; on the rows and on its own completions."""

import sys
from pathlib import Path
from typing import Any

import pytest

sys.path.insert(0, str(Path(__file__).parents[1]))
import tiny_room
import tiny_stack as tiny
import torch
from tiny_room import BARE, LORA, Room, assert_same_steps, first_steps, plain_model, plain_steps, texts

import tunekit.methods.sft.run as sft_run
from tunekit.engine.experimental import experimental
from tunekit.errors import ActionError
from tunekit.methods.distill.run import run
from tunekit.methods.distill.spec import Distill
from tunekit.methods.distill.trainer import DistillTrainer
from tunekit.methods.pretrain.run import run as pretrain

pytestmark = pytest.mark.torch
SPEC: dict[str, Any] = {"model": "model:m", "data": ["dataset:a"], "teacher": "model:t"}


@pytest.fixture(scope="module")
def room(tmp_path_factory: pytest.TempPathFactory) -> Room:
    made = Room(tmp_path_factory.mktemp("distill"), "run.distill", run)
    made.teacher = made.new_model("teacher", 7, initializer_range=0.3)  # of strong opinions
    return made


def divergence(student: Any, teacher: Any, rows: tiny_room.Rows, beta: float, temperature: float) -> torch.Tensor:
    """Mean over labelled tokens of the generalised Jensen-Shannon divergence of two distributions, row by row."""
    total, count = torch.zeros(()), 0
    for ids, labelled in rows:
        kept = torch.tensor(labelled[1:])
        with torch.no_grad():
            t_NV = (teacher(torch.tensor([ids])).logits[0, :-1][kept] / temperature).softmax(-1)
        s_NV = (student(torch.tensor([ids])).logits[0, :-1][kept] / temperature).softmax(-1)
        kl = lambda p, q: (p * (p.log() - q.log())).sum()  # noqa: E731
        if beta in (0, 1):
            total = total + (kl(s_NV, t_NV) if beta else kl(t_NV, s_NV))
        else:
            m_NV = beta * t_NV + (1 - beta) * s_NV
            total = total + beta * kl(t_NV, m_NV) + (1 - beta) * kl(s_NV, m_NV)
        count += int(kept.sum())
    return total / count


@pytest.mark.parametrize(
    ("settings", "layout"),
    [
        ({}, {"micro_batch_size": 4}),
        ({"beta": 0.0, "temperature": 2.0}, {"packing": True, "sequence_len": 32}),
        ({"beta": 1.0}, {"padding_free": True}),
    ],
)
def test_first_steps_are_those_of_the_formula(
    room: Room, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, settings: dict[str, Any], layout: dict[str, Any]
) -> None:
    """However rows become batches: accumulated, packed, or without padding."""
    rows = tiny.random_rows(12)
    tokens = room.tokens(f"steps{settings}", rows)
    # A whole epoch is one step: of 12 rows, and of as many sequences as they are packed into.
    spec = SPEC | BARE | settings | layout | {"batch_size": 12}
    events = []

    def train() -> tiny.Recorder:
        events.append(room.run(tmp_path, spec, tokens=tokens, teacher=room.teacher)[1])
        return events[0]

    found = first_steps(monkeypatch, sft_run, train)
    teacher = plain_model(room.teacher)
    beta, temperature = settings.get("beta", 0.5), settings.get("temperature", 1.0)
    want = plain_steps(
        plain_model(room.model), lambda m: divergence(m, teacher, rows, beta, temperature), 3, BARE["learning_rate"]
    )
    assert_same_steps(found, want)
    if "packing" in layout or "padding_free" in layout:
        assert [e["name"] for e in events[0].of("gate")] == ["packed_loss"] * 2, "of the student, and of the teacher"


@pytest.mark.parametrize("lmbda", [0.0, 0.5])
def test_resume_is_exact(room: Room, tmp_path: Path, lmbda: float) -> None:
    spec = SPEC | {"batch_size": 4, "max_steps": 7, "checkpoint_steps": 2, "adapter": LORA, "learning_rate": 1e-2}
    more = {"lmbda": lmbda, "max_completion_length": 6, "micro_batch_size": 2} if lmbda else {}
    tokens = room.tokens(f"resume{lmbda}", tiny.random_rows(14))
    room.check_resume(tmp_path, spec | more, 5, 4, tokens=tokens, teacher=room.teacher)


def test_it_learns(room: Room, tmp_path: Path) -> None:
    """A teacher that knows a rule; held-out rows, whose labels the student never sees as such."""
    rows = {"batch_size": 8, "max_steps": 60, "learning_rate": 1e-2}
    tokens = room.tokens("learns", texts(120, 4))
    taught = Room(tmp_path / "teacher", "run.pretrain", pretrain)
    spec = {"model": "model:m", "data": ["dataset:a"], "sequence_len": 32} | rows
    teacher = str(taught.run(tmp_path / "taught", spec, tokens=tokens)[0]["last"])
    outputs, _ = room.run(tmp_path, SPEC | rows, tokens=tokens, teacher=teacher)
    held_out = texts(20, 5)
    with torch.no_grad():
        before, after = (
            divergence(plain_model(path), plain_model(teacher), held_out, 0.5, 1.0).item()
            for path in (room.model, str(outputs["last"]))
        )
    assert after < before / 3


class Watched(DistillTrainer):
    """Keeps the batches that it is trained on."""

    seen: list[dict[str, torch.Tensor]] = []

    def compute_loss(self, model: Any, inputs: dict[str, Any], *args: Any, **kwargs: Any) -> Any:
        self.seen.append({name: inputs[name].clone() for name in ("input_ids", "labels", "attention_mask")})
        return super().compute_loss(model, inputs, *args, **kwargs)


def test_on_policy_steps_are_of_its_own_completions(
    room: Room, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The prompts are the rows', what follows is the student's and all label; and those labels are what is counted."""
    import tunekit.methods.distill.run as distill_run

    Watched.seen.clear()
    monkeypatch.setattr(distill_run, "DistillTrainer", Watched)
    rows = tiny.random_rows(6)
    spec = SPEC | {"lmbda": 1.0, "max_completion_length": 5, "batch_size": 6, "max_steps": 1, "micro_batch_size": 3}
    tokens = room.tokens("own", rows)
    _, events = room.run(tmp_path, spec, tokens=tokens, teacher=room.teacher)
    prompts = {tuple(ids[: labelled.index(True)]) for ids, labelled in rows}
    given = {tuple(ids) for ids, _ in rows}
    made = []
    for batch in Watched.seen:
        for ids_T, labels_T, mask_T in zip(*batch.values(), strict=True):
            ids, labels = ids_T[mask_T.bool()].tolist(), labels_T[mask_T.bool()].tolist()
            start = next(i for i, label in enumerate(labels) if label != -100)
            assert tuple(ids[:start]) in prompts and labels[start:] == ids[start:] and 1 <= len(ids) - start <= 5
            assert tuple(ids) not in given
            made.append((ids, [label != -100 for label in labels]))
    assert len(made) == 6
    (_, figures) = events.metrics[0]
    assert figures["supervised_tokens"] == sum(sum(labelled) for _, labelled in made)
    want = divergence(plain_model(room.model), plain_model(room.teacher), made, 0.5, 1.0)
    assert figures["loss"] == pytest.approx(want.item(), rel=1e-4)


def test_another_vocabulary_is_refused(room: Room, tmp_path: Path) -> None:
    """Of the same size: only the tokens differ."""
    other = Path(room.teacher).with_name("other")
    other.mkdir()
    for path in Path(room.teacher).iterdir():
        text = path.read_bytes()
        (other / path.name).write_bytes(
            text.replace(b'"a"', b'"never"').replace(b'"b"', b'"a"').replace(b'"never"', b'"b"')
        )
    with pytest.raises(ActionError, match="2 tokens of model:t are not the student's") as found:
        room.run(tmp_path, SPEC, tokens=room.tokens("other", tiny.random_rows(4)), teacher=str(other))
    assert found.value.slug == "other-vocabulary"


def test_a_row_without_a_prompt_cannot_be_completed(room: Room, tmp_path: Path) -> None:
    spec = SPEC | {"lmbda": 1.0, "max_completion_length": 4, "max_steps": 1}
    tokens = room.tokens("bare", [([4, 5, 6], [True] * 3)])
    with pytest.raises(ActionError, match="no prompt") as found:
        room.run(tmp_path, spec, tokens=tokens, teacher=room.teacher)
    assert found.value.slug == "no-prompt"


@pytest.mark.parametrize(
    ("change", "key"),
    [
        ({"max_completion_length": 8}, "max_completion_length"),
        ({"lmbda": 0.5}, "max_completion_length"),
        ({"lmbda": 0.5, "max_completion_length": 8, "packing": True}, "packing"),
        ({"lmbda": 0.5, "max_completion_length": 8, "padding_free": True}, "padding_free"),
    ],
)
def test_settings_that_would_mean_nothing(change: dict[str, Any], key: str) -> None:
    assert [k for k, _, _ in Distill(**(SPEC | change)).checks()] == [key]


def test_what_trl_moved_is_named() -> None:
    with pytest.raises(ActionError, match=r"TRL 1\.16\.\d has no GKDTrainer in trl\.experimental\.gone") as found:
        experimental("gone", "GKDTrainer")
    assert found.value.slug == "trl-moved"
    with pytest.raises(ActionError, match="has no Nobody in"):
        experimental("gkd", "Nobody")
