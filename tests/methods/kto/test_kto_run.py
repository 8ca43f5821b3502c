"""KTO beside a plain TRL script and the formula, resumed, and learning."""

import inspect
import sys
from pathlib import Path
from typing import Any, NamedTuple

import pytest

sys.path.insert(0, str(Path(__file__).parents[1]))
import torch
from pair_rows import PAIRED, encoded, logps, pairs
from referenced import reference, text_pairs, text_tokens, trl_steps
from tiny_room import BARE, LORA, Room, assert_same_steps, first_steps, plain_model, plain_steps, tiny
from trl import KTOConfig, KTOTrainer

import tunekit.methods.pairwise.run as rows_run
from tunekit.engine.adapters import with_new_adapter
from tunekit.engine.pairs import answers_of
from tunekit.engine.rows import Tokens
from tunekit.methods.kto.dataset import Judged
from tunekit.methods.kto.run import run
from tunekit.steps.adapter.spec import Adapter

pytestmark = pytest.mark.torch
STILL = LORA | {"dropout": 0.0}
SEED = 42


@pytest.fixture(scope="module")
def room(tmp_path_factory: pytest.TempPathFactory) -> Room:
    return Room(tmp_path_factory.mktemp("kto"), "run.kto", run)


class Row(NamedTuple):
    prompt: list[int]
    answer: list[int]
    wanted: bool


def judged(count: int, seed: int) -> list[Row]:
    """The answers of pairs, some of them."""
    return [
        Row(row.prompt, row.rejected if i % 3 == 0 else row.chosen, i % 3 != 0)
        for i, row in enumerate(pairs(count, seed))
    ]


def judged_tokens(room: Room, name: str, *items: list[Row]) -> str:
    made = [("verdict", [[encoded(row.prompt, row.answer, [row.wanted]) for row in rows]]) for rows in items]
    return tiny.encoded_tokens(room.root / name, made)


def scored(block: int, **more: Any) -> dict[str, Any]:
    return {"data": [{}], "sequence_len": 1024, "pairing": {"seed": SEED, "block": block}} | more


def in_order(tokens: str, block: int) -> Judged:
    held = Tokens(tokens)
    view = answers_of(held, 0, 1024, "error", limit=None, weight=1.0, name="dataset:a")
    return Judged(held, [view], SEED, block, 1024)


def partner(position: int, block: int, count: int) -> int:
    """Whose answer goes to a row's prompt, by places in the order."""
    first = position // block * block
    mates = list(range(first, min(first + block, count)))
    return mates[mates.index(position) - 1] if len(mates) > 1 else max(position - 1, 0)


@pytest.mark.parametrize(("count", "block"), [(11, 4), (9, 4), (8, 4), (2, 4), (1, 4)])
def test_each_answer_of_a_step_goes_to_another_prompt(room: Room, count: int, block: int) -> None:
    rows = judged(count, 0)
    found = in_order(judged_tokens(room, f"paired{count}", rows), block)
    order = found.rows.tolist()
    assert sorted(order) == list(range(count))
    for place, number in enumerate(order):
        other = rows[order[partner(place, block, count)]]
        verdict = found[place]
        assert verdict.answer[0].tolist() == rows[number].prompt + rows[number].answer
        assert verdict.mismatched[0].tolist() == rows[number].prompt + other.answer
        assert verdict.mismatched[1].tolist() == [-100] * len(rows[number].prompt) + other.answer
        assert verdict.wanted == rows[number].wanted
    if count > 1:
        assert all(partner(place, block, count) != place for place in range(count))


def text_rows(count: int, seed: int) -> list[dict[str, Any]]:
    return [
        {"prompt": row["prompt"], "completion": row["chosen" if i % 3 else "rejected"], "label": bool(i % 3)}
        for i, row in enumerate(text_pairs(count, seed))
    ]


@pytest.mark.parametrize(
    ("said", "theirs"),
    [
        ({}, {}),
        ({"beta": 0.5, "adapter": STILL, "micro_batch_size": 4}, {"beta": 0.5}),
        ({"beta": 0.5, "desirable_weight": 1.5, "undesirable_weight": 0.7, "micro_batch_size": 2},
         {"beta": 0.5, "desirable_weight": 1.5, "undesirable_weight": 0.7}),
    ],
)  # fmt: skip
def test_first_steps_are_those_of_a_plain_trl_script(
    room: Room, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, said: dict[str, Any], theirs: dict[str, Any]
) -> None:
    """From the same texts in our order, with TRL's tokens, its pairs for the KL term and its own copy of the policy;
    the KL term is that of the step, however its 11 rows are cut."""
    text = text_rows(11, 0)
    tokens = text_tokens(room, f"talk{len(said)}", [text], "unpaired", ["verdict"])
    held = reference(room, tmp_path / "reference", scored(12), tokens=tokens)
    spec = PAIRED | BARE | {"batch_size": 12, "learning_rate": 1e-3} | said
    inputs = {"tokens": tokens, "reference": held}
    found = first_steps(monkeypatch, rows_run, lambda: room.run(tmp_path / "ours", spec, **inputs)[1])
    model = plain_model(room.model)
    if "adapter" in said:
        adapter = Adapter(**{k: v for k, v in STILL.items() if k != "method"})
        model = with_new_adapter(model, adapter, SEED, room.model)
    ordered = [text[i] for i in in_order(tokens, 12).rows]
    want, trainer = trl_steps(room, KTOTrainer, KTOConfig, model, ordered, tmp_path / "theirs", **theirs)
    assert_same_steps(found, want)
    assert max(entry.get("kl", 0) for entry in trainer.state.log_history) > 0.01, "there is a KL term to compare"


def kto(model: Any, base: Any, found: list[Row], block: int, beta: float) -> torch.Tensor:
    """Of whole rows in their order, one by one."""

    def ratio(prompt: list[int], answer: list[int]) -> torch.Tensor:
        with torch.no_grad():
            was = logps(base, prompt, answer)[-len(answer) :].sum()
        return logps(model, prompt, answer)[-len(answer) :].sum() - was

    with torch.no_grad():
        mates = [found[partner(i, block, len(found))] for i in range(len(found))]
        kl = torch.stack([ratio(row.prompt, mate.answer) for row, mate in zip(found, mates, strict=True)]).mean()
    kl = kl.clamp(min=0)
    losses = [1 - (beta * (1 if row.wanted else -1) * (ratio(row.prompt, row.answer) - kl)).sigmoid() for row in found]
    return torch.stack(losses).mean()


def test_steps_of_a_shuffled_order_are_those_of_the_formula(
    room: Room, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Three steps of 4 rows in the order of the seed, in forward passes of 2; the last one has 3."""
    rows = judged(11, 3)
    tokens = judged_tokens(room, "formula", rows)
    held = reference(room, tmp_path / "reference", scored(4), tokens=tokens)
    spec = PAIRED | BARE | {"batch_size": 4, "micro_batch_size": 2, "beta": 0.4, "learning_rate": 1e-3}
    found = first_steps(monkeypatch, rows_run, lambda: room.run(tmp_path, spec, tokens=tokens, reference=held)[1])
    ordered = [rows[i] for i in in_order(tokens, 4).rows]
    base = plain_model(room.model).eval()
    steps = iter([ordered[:4], ordered[4:8], ordered[8:]])
    want = plain_steps(plain_model(room.model), lambda m: kto(m, base, next(steps), 4, 0.4), 3, 1e-3)
    assert_same_steps(found, want)


def test_resume_is_exact(room: Room, tmp_path: Path) -> None:
    spec = PAIRED | {"batch_size": 4, "max_steps": 7, "checkpoint_steps": 2, "learning_rate": 1e-2, "adapter": LORA}
    tokens = judged_tokens(room, "resume", judged(14, 1), judged(5, 2))
    evaluated = {"eval_data": ["dataset:b"], "eval_steps": 2, "micro_batch_size": 2}
    held = reference(room, tmp_path / "reference", scored(4, eval_data=[{}]), tokens=tokens)
    events = room.check_resume(tmp_path, spec | evaluated, 5, 4, tokens=tokens, reference=held)
    assert events.settings["rows"] == {"train": 14, "evaluated": 5}
    assert events.settings["verdicts"] == {"wanted": 9, "unwanted": 5}
    (gate,) = events.of("gate")
    assert gate["name"] == "reference" and gate["passed"] and gate["measured"]["difference"] < 1e-5


def test_it_learns(room: Room, tmp_path: Path) -> None:
    """Held-out rows: how far the wanted answers are ahead of the others; and the loss is that of the rows."""
    held_out = judged(30, 4)
    tokens = judged_tokens(room, "learns", judged(120, 3), held_out)
    held = reference(room, tmp_path / "reference", scored(8, eval_data=[{}]), tokens=tokens)
    spec = PAIRED | {
        "batch_size": 8,
        "max_steps": 60,
        "learning_rate": 1e-2,
        "undesirable_weight": 2.0,
        "eval_data": ["dataset:b"],
        "eval_steps": 20,
    }
    _, events = room.run(tmp_path, spec, tokens=tokens, reference=held)
    points = [figures for _, figures in events.metrics if "eval_loss" in figures]
    assert points[-1]["eval_loss"] < points[0]["eval_loss"] and points[-1]["eval_rewards/margins"] > 0.5
    assert {"kl", "rewards/margins", "logps/chosen", "entropy"} <= events.metrics[-2][1].keys()
    assert not events.of("warning"), "2 to 1, and weighted 1 to 2"


def test_evaluation_does_not_depend_on_the_batch(room: Room, tmp_path: Path) -> None:
    tokens = judged_tokens(room, "eval", judged(8, 5), judged(7, 6))
    held = reference(room, tmp_path / "reference", scored(4, eval_data=[{}]), tokens=tokens)
    spec = PAIRED | {"batch_size": 4, "max_steps": 2, "learning_rate": 1e-2, "eval_data": ["dataset:b"]}
    found = []
    for micro in (4, 2):
        said = spec | {"micro_batch_size": micro}
        _, events = room.run(tmp_path / str(micro), said, tokens=tokens, reference=held)
        (figures,) = [f for _, f in events.metrics if "eval_loss" in f]
        found.append(figures)
    assert found[0] == pytest.approx(found[1], rel=1e-3, abs=1e-5)


@pytest.mark.parametrize(("wanted", "slug"), [(True, "one-verdict"), (False, "one-verdict"), (None, "unbalanced")])
def test_verdicts_out_of_balance_are_told(room: Room, tmp_path: Path, wanted: bool | None, slug: str) -> None:
    rows = [row._replace(wanted=i > 1 if wanted is None else wanted) for i, row in enumerate(judged(10, 7))]
    tokens = judged_tokens(room, f"balance{wanted}", rows)
    held = reference(room, tmp_path / "reference", scored(10), tokens=tokens)
    spec = PAIRED | {"batch_size": 10, "max_steps": 1}
    _, events = room.run(tmp_path / "run", spec, tokens=tokens, reference=held)
    (warning,) = events.of("warning")
    assert warning["slug"] == slug
    if slug == "unbalanced":
        assert "desirable_weight = 0.25" in warning["message"]


def test_the_seams_of_trl() -> None:
    """Its preparation of datasets, its reference and its KL term, which a new version may move."""
    made = inspect.getsource(KTOTrainer.__init__)
    assert made.count("self._prepare_dataset(") == 3 and made.count("self._precompute_ref_logps(") == 3
    loss = inspect.getsource(KTOTrainer._compute_loss)
    assert "KL_logps = self._compute_kl_logps(model, batch)" in loss
    assert "kl = (KL_logps - ref_KL_logps).mean().detach()" in loss and 'ref_KL_logps = batch["ref_KL_logps"]' in loss
