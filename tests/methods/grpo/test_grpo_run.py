"""Real TRL on a tiny model: the reward rises, what was asked for takes effect, what cannot is an error."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from tunekit.errors import ActionError
from tunekit.protocol import Request

pytestmark = pytest.mark.torch
LORA = {"method": "lora", "r": 4, "alpha": 8, "target_modules": ["embed_tokens", "q_proj", "v_proj"]}
Ask = Callable[..., Request]


def run(request: Request, pen: Any) -> Path:
    from tunekit.methods.grpo.run import run as room

    assert room(request, pen) == {"main": "last", "last": "last"}
    return Path(request.out) / "last"


def test_the_reward_rises_and_is_told(ask: Ask, pen: Any) -> None:
    out = run(ask(max_steps=24, batch_size=16, learning_rate=0.03, checkpoint_steps=50), pen)
    summary = pen.settings["summary"]
    assert summary["steps"] == 24 and summary["window"] == 2
    assert summary["last"]["rewards/lower/mean"] > summary["first"]["rewards/lower/mean"] + 0.2
    step, figures = pen.metrics[-1]
    assert step == 24 and len(pen.metrics) == 24
    assert {
        "reward", "reward_std", "frac_reward_zero_std", "rewards/lower/mean", "rewards/short/mean", "entropy",
        "completions/mean_length", "completions/clipped_ratio", "grad_norm", "learning_rate", "loss",
    } <= figures.keys()  # fmt: skip
    assert not any("time" in name for name in figures)
    assert any("reward" in e for e in pen.seen if e["type"] == "progress")
    names = {p.name for p in out.iterdir()}
    assert names == {"model.safetensors", "config.json", "generation_config.json", "tokenizer.json",
                     "tokenizer_config.json"}  # fmt: skip


def test_settings_take_effect(ask: Ask, pen: Any) -> None:
    spec: dict[str, Any] = {"loss_type": "dr_grpo", "scale_rewards": "none", "epsilon": 0.1, "epsilon_high": 0.3}
    run(ask(max_steps=2, batch_size=16, micro_batch_size=4, temperature=0.7, top_k=5, num_iterations=2, **spec), pen)
    trl = pen.settings["trl"]
    assert {k: trl[k] for k in spec} == spec
    assert (trl["temperature"], trl["top_k"], trl["num_iterations"]) == (0.7, 5, 2)
    assert (trl["generation_batch_size"], trl["steps_per_generation"]) == (16, 4)
    assert pen.settings["batch"] == {"size": 16, "micro": 4, "accumulation": 4, "world": 1}
    assert trl["reward_weights"] == [1.0, 0.5] and trl["reward_names"] == ["lower", "short"]
    assert trl["stop_ids"] == [1, 2]  # the tokenizer's eos and the model's end of turn
    assert pen.settings["reference"] == "none"


def test_micro_batches_change_no_completion(ask: Ask, pen: Any) -> None:
    other = type(pen)()
    run(ask("whole", max_steps=1), pen)
    run(ask("micro", max_steps=1, micro_batch_size=2), other)
    ((_, whole),), ((_, micro),) = pen.metrics, other.metrics
    same = [n for n in whole if n.startswith(("reward", "completions/"))]
    assert {n: whole[n] for n in same} == {n: micro[n] for n in same}
    assert whole["grad_norm"] == pytest.approx(micro["grad_norm"], rel=1e-4)


@pytest.mark.filterwarnings("ignore:Setting `save_embedding_layers`")  # PEFT, when TRL writes a checkpoint
def test_reference_of_a_continued_adapter_is_the_adapter_at_the_start(ask: Ask, pen: Any, base: str) -> None:
    """KL is zero before the first update only if the reference has the adapter, too: it is far from the base."""
    from safetensors.torch import load_file

    before = run(ask("before", max_steps=8, adapter_spec=LORA), type(pen)())
    after = run(ask("after", str(before), beta=0.2, max_steps=3), pen)
    assert pen.settings["reference"] == "base and a frozen copy of the adapter"
    kl = [figures["kl"] for _, figures in pen.metrics]
    assert kl[0] == pytest.approx(0.0, abs=1e-6) and kl[1] > 1e-5
    assert {p.name for p in after.iterdir()} == {"adapter_config.json", "adapter_model.safetensors"}
    old, new = (load_file(p / "adapter_model.safetensors") for p in (before, after))
    assert old.keys() == new.keys() and not any("ref" in name for name in new)
    assert any((old[name] != new[name]).any() for name in old)
    assert any(name.endswith("lora_embedding_B") and old[name].abs().max() > 0 for name in old)


@pytest.mark.filterwarnings("ignore:Setting `save_embedding_layers`")  # PEFT, when TRL writes a checkpoint
def test_finished_early_is_the_last_checkpoint(ask: Ask, pen: Any) -> None:
    """An adapter beside its frozen reference: what is kept is the trained one as the checkpoint has it."""
    import tiny_stack as tiny
    from safetensors.torch import load_file

    from tunekit.methods.grpo.run import run as room

    request = ask(adapter_spec=LORA, beta=0.2, max_steps=9, checkpoint_steps=2)
    with pytest.raises(KeyboardInterrupt):
        room(request, tiny.Interrupted(5))
    kept = load_file(Path(request.staging) / "train" / "checkpoint-4" / "adapter_model.safetensors")
    found = load_file(run(request._replace(finish=True), pen) / "adapter_model.safetensors")
    # (Transformers' checkpoint has the embeddings of the base, too, which an adapter's artifact has not.)
    assert len(found) > 4 and all((found[name] == kept[name]).all() for name in found)
    assert any(value.abs().max() > 0 for name, value in found.items() if "lora_B" in name)
    assert pen.settings["finished_early"] == {"step": 4, "of": 9}
    assert [step for step, _ in pen.metrics] == [1, 2, 3, 4] and pen.settings["summary"]["steps"] == 4


def test_full_weights_have_the_base_as_their_reference(ask: Ask, pen: Any) -> None:
    run(ask(beta=0.1, max_steps=2), pen)
    kl = [figures["kl"] for _, figures in pen.metrics]
    assert kl[0] == pytest.approx(0.0, abs=1e-6) and kl[1] > 0


def test_a_reward_of_none_leaves_the_completion_out(ask: Ask, pen: Any) -> None:
    rows = [{"prompt": "say a", "limit": None}]
    run(ask(rows=rows, max_steps=1), pen)
    ((_, figures),) = pen.metrics
    assert "rewards/short/mean" not in figures and figures["reward"] == figures["rewards/lower/mean"]


@pytest.mark.parametrize(
    ("slug", "spec", "rows"),
    [
        ("prompt-too-long", {"max_prompt_length": 6}, None),
        ("no-template", {}, [{"prompt": [{"role": "user", "content": "hi"}]}]),
        ("reward-timeout", {"rewards": [{"fn": "rewards.py:slow"}], "reward_timeout": 0.3}, None),
        ("reward-missing", {"rewards": [{"fn": "rewards.py:nope"}]}, None),
        ("context-too-long", {"max_completion_length": 60}, None),
        ("trainer-refused", {"adapter_spec": LORA | {"target_modules": ["lm_head"]}}, None),
        ("reference-bias", {"beta": 0.1, "adapter_spec": LORA | {"bias": "lora_only"}}, None),
    ],
)
def test_errors(ask: Ask, pen: Any, slug: str, spec: dict[str, Any], rows: list[dict[str, Any]] | None) -> None:
    with pytest.raises(ActionError) as found:
        run(ask(rows=rows, **spec), pen)
    assert found.value.slug == slug, found.value.message


def test_a_chat_template_makes_a_string_a_user_message(base: str, tmp_path: Path) -> None:
    from tunekit.data.rowset import write_dataset
    from tunekit.data.vocabulary import open_vocabulary
    from tunekit.engine.prompts import Share, read_prompts
    from tunekit.protocol import Input

    for file in ("tokenizer.json", "tokenizer_config.json"):
        (tmp_path / file).write_bytes((Path(base) / file).read_bytes())
    template = (
        "{% for m in messages %}[{{ m.role }}]{{ m.content }}{% endfor %}{% if add_generation_prompt %}>{% endif %}"
    )
    (tmp_path / "chat_template.jinja").write_text(template)
    rows = [{"prompt": "hi"}] * 3 + [{"prompt": "yo"}]
    write_dataset(tmp_path / "d", rows, "prompt", 2)
    source = Input(str(tmp_path / "d"), "", "dataset", "dataset:d")
    prompts = read_prompts([source], [Share(limit=3, weight=0.67)], open_vocabulary(tmp_path))
    assert [p.text for p in prompts] == ["[user]hi>"] * 2
    every = read_prompts([source], [Share()], open_vocabulary(tmp_path))
    twice = read_prompts([source], [Share(limit=2, weight=1.5)], open_vocabulary(tmp_path))
    assert twice == [every[0], every[1], every[1]]
    assert [p.text for p in every] == ["[user]hi>"] * 3 + ["[user]yo>"], "both chunks, in order"
    assert prompts[0].row == {"prompt": "hi"} and len(prompts[0].ids) == len("[user]hi>")
    write_dataset(tmp_path / "chat", [{"messages": []}], "chat")
    with pytest.raises(ActionError) as found:
        read_prompts([source._replace(path=str(tmp_path / "chat"))], [Share()], open_vocabulary(tmp_path))
    assert found.value.slug == "wrong-format" and "dataset:d has `chat` rows" in found.value.message


def test_rewards_that_are_all_the_same(ask, pen):
    """A warning after a few steps, and an end where nothing is learnt for long."""
    from tunekit.errors import GateError
    from tunekit.methods.grpo.run import run

    request = ask(rewards=[{"fn": "rewards.py:same"}], max_steps=25, checkpoint_steps=50)
    with pytest.raises(GateError, match="grad_norm is 0 at step 20") as found:
        run(request, pen)
    assert found.value.slug == "unhealthy" and "the same reward" in found.value.message
    assert [w["slug"] for w in pen.of("warning")] == ["constant-reward", "dead-reward", "truncated-completions"]
