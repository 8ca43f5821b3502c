"""A process reward model beside plain torch, resumed, and learning; and its artifact without tunekit."""

import sys
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import pytest

sys.path.insert(0, str(Path(__file__).parents[1]))
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from peft import PeftModel
from tiny_room import BARE, LORA, Room, assert_same_steps, first_steps, plain_steps, tiny
from torch.nn.functional import cross_entropy
from transformers import AutoModelForTokenClassification

import tunekit.methods.pairwise.run as pairwise
from tunekit.data.encoder import Encoded
from tunekit.errors import ActionError
from tunekit.methods.prm.figures import auc, balanced_accuracy
from tunekit.methods.prm.run import run

pytestmark = pytest.mark.torch
SPEC: dict[str, Any] = {"model": "model:m", "data": ["dataset:a"]}
SEPARATOR = 58


@pytest.fixture(scope="module")
def room(tmp_path_factory: pytest.TempPathFactory) -> Room:
    return Room(tmp_path_factory.mktemp("prm"), "run.prm", run)


class Row(NamedTuple):
    """A prompt, and steps (with a separator at their end) of which each is right or wrong."""

    prompt: list[int]
    steps: list[list[int]]
    right: list[bool]


def solutions(count: int, seed: int) -> list[Row]:
    """A step that counts up by one is right, one with an odd token out is wrong."""
    generator = torch.Generator().manual_seed(seed)

    def number(low: int, high: int) -> int:
        return int(torch.randint(low, high, (), generator=generator))

    rows = []
    for _ in range(count):
        steps, right = [], []
        for _ in range(number(1, 5)):
            first = number(3, 40)
            step = [first + i for i in range(number(2, 5))]
            right.append(number(0, 3) > 0)
            steps.append([*step, *([] if right[-1] else [50]), SEPARATOR])
        rows.append(Row([60, number(3, 40)], steps, right))
    return rows


def step_tokens(room: Room, name: str, *items: list[Row]) -> str:
    made = []
    for rows in items:
        encoded = []
        for row in rows:
            ids = [*row.prompt, *(token for step in row.steps for token in step)]
            encoded.append(Encoded(ids, [token == SEPARATOR for token in ids], verdicts=row.right))
        made.append(("steps", [encoded]))
    return tiny.encoded_tokens(room.root / name, made)


def judge(path: str) -> Any:
    model = AutoModelForTokenClassification.from_pretrained(path, num_labels=2, dtype=torch.float32)
    model.dropout.p = 0.0
    return model


def with_seeded_head(path: str) -> Any:
    model = judge(path)
    generator = torch.Generator().manual_seed(42)
    with torch.no_grad():
        model.score.bias.zero_()
        model.score.weight.normal_(0.0, 0.02, generator=generator)
    return model


def verdicts(model: Any, row: Row) -> torch.Tensor:
    """[N, 2]: what the model says at the last token of each step, of a row alone."""
    ids = [*row.prompt, *(token for step in row.steps for token in step)]
    ends = np.cumsum([len(step) for step in row.steps]) + len(row.prompt) - 1
    return model(torch.tensor([ids])).logits[0, ends.tolist()]


def step_loss(model: Any, rows: list[Row], last_only: bool = False) -> torch.Tensor:
    first = -1 if last_only else 0
    logits_N2 = torch.cat([verdicts(model, row)[first:] for row in rows])
    right_N = torch.tensor([int(v) for row in rows for v in row.right[first:]])
    return cross_entropy(logits_N2, right_N)


@pytest.mark.parametrize(("micro", "last_only"), [(12, False), (4, False), (4, True)])
def test_first_steps_are_those_of_plain_torch(
    room: Room, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, micro: int, last_only: bool
) -> None:
    """The mean is over steps, not rows, however the 11 rows are cut into forward passes."""
    rows = solutions(11, 0)
    tokens = step_tokens(room, f"steps{micro}{last_only}", rows)
    spec = SPEC | BARE | {"batch_size": 12, "micro_batch_size": micro, "train_on_last_step_only": last_only}
    found = first_steps(monkeypatch, pairwise, lambda: room.run(tmp_path, spec, tokens=tokens)[1])
    model = with_seeded_head(room.model)
    want = plain_steps(model, lambda m: step_loss(m, rows, last_only), 3, BARE["learning_rate"])
    assert_same_steps(found, want)


@pytest.mark.parametrize("adapter", [None, LORA])
def test_resume_is_exact(room: Room, tmp_path: Path, adapter: dict[str, Any] | None) -> None:
    spec = SPEC | {"batch_size": 4, "max_steps": 5, "checkpoint_steps": 2, "learning_rate": 1e-2, "adapter": adapter}
    tokens = step_tokens(room, f"resume{bool(adapter)}", solutions(10, 1), solutions(4, 2))
    room.check_resume(tmp_path, spec | {"eval_data": ["dataset:b"], "eval_steps": 2}, 3, 2, tokens=tokens)


@pytest.mark.parametrize("adapter", [None, LORA | {"target_modules": "all-linear"}])
def test_it_learns_and_its_artifact_is_plain(room: Room, tmp_path: Path, adapter: dict[str, Any] | None) -> None:
    """Steps of held-out rows; the same numbers come out of Transformers and PEFT alone."""
    held_out = solutions(30, 4)
    tokens = step_tokens(room, f"learns{bool(adapter)}", solutions(100, 3), held_out)
    spec = SPEC | {"batch_size": 8, "max_steps": 40, "learning_rate": 1e-2, "eval_data": ["dataset:b"]}
    outputs, events = room.run(tmp_path, spec | {"adapter": adapter}, tokens=tokens)
    summary = events.settings["summary"]
    assert summary["eval_balanced_accuracy"] > 0.9 and summary["eval_auc"] > 0.95
    if adapter:
        model = PeftModel.from_pretrained(judge(room.model), str(outputs["main"])).eval()
    else:
        model = AutoModelForTokenClassification.from_pretrained(str(outputs["main"])).eval()
        assert model.config.num_labels == 2 and model.dropout.p == 0.0
    with torch.no_grad():
        said = torch.cat([verdicts(model, row) for row in held_out]).argmax(-1)
        right = torch.tensor([int(v) for row in held_out for v in row.right])
        assert summary["eval_loss"] == pytest.approx(step_loss(model, held_out).item(), rel=1e-3, abs=1e-5)
    assert summary["eval_accuracy"] == pytest.approx((said == right).float().mean().item())
    assert summary["eval_share_right"] == pytest.approx(right.float().mean().item())


def test_a_row_that_is_cut_keeps_its_first_verdicts(room: Room, tmp_path: Path) -> None:
    long = Row([60, 9], [[4, 5, SEPARATOR], [6, 50, SEPARATOR], [7, 8, 50, 9, SEPARATOR]], [True, False, True])
    tokens = step_tokens(room, "cut", [long])
    spec = SPEC | BARE | {"sequence_len": 10, "max_steps": 1, "max_grad_norm": 1.0}
    with pytest.raises(ActionError, match="longer than sequence_len 10"):
        room.run(tmp_path / "error", spec, tokens=tokens)
    _, events = room.run(tmp_path / "cut", spec | {"overlong": "keep_start"}, tokens=tokens)
    want = step_loss(with_seeded_head(room.model), [long._replace(steps=long.steps[:2], right=long.right[:2])])
    assert events.metrics[0][1]["loss"] == pytest.approx(want.item(), rel=1e-5)


scored = st.lists(st.tuples(st.integers(-3, 3), st.booleans()), min_size=1, max_size=30)


@settings(deadline=None)
@given(scored)
def test_ranks_and_balance_are_what_counting_says(found: list[tuple[int, bool]]) -> None:
    scores = np.array([float(score) for score, _ in found])
    right = np.array([truth for _, truth in found])
    good, bad = scores[right], scores[~right]
    if not len(good) or not len(bad):
        assert auc(scores, right) is None and balanced_accuracy(scores, right) is None
        return
    pairs = [(a > b) + (a == b) / 2 for a in good for b in bad]
    assert auc(scores, right) == pytest.approx(np.mean(pairs))
    assert balanced_accuracy(scores, right) == pytest.approx((np.mean(good > 0) + np.mean(bad <= 0)) / 2)
