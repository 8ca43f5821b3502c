"""One room's `run` on a tiny model: its first steps beside an oracle's, and a run that was interrupted beside a
straight one."""

from __future__ import annotations

import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

sys.path.insert(0, str(Path(__file__).parents[1] / "engine"))
import pytest
import tiny_stack as tiny
import torch
from transformers import AutoModelForCausalLM, TrainerCallback

from tunekit.protocol import Events, Request
from tunekit.steps.model.run import run as make_model

LORA = {"method": "lora", "r": 4, "alpha": 8, "dropout": 0.1}
Rows = list[tuple[list[int], list[bool]]]
Gradients = dict[str, torch.Tensor]


def texts(count: int, seed: int, longest: int = 20) -> Rows:
    """Every token is a label; each is the one before, plus one of three steps that the first token says."""
    generator = torch.Generator().manual_seed(seed)
    rows = []
    for _ in range(count):
        first, length = (
            int(torch.randint(low, high, (), generator=generator)) for low, high in ((3, 40), (6, longest))
        )
        ids = [3 + (first + i * (1 + first % 3)) % 40 for i in range(length)]
        rows.append((ids, [True] * length))
    return rows


class Step(NamedTuple):
    """What an optimizer step was taken of: the loss, and the gradient of every trained parameter by name."""

    loss: float
    gradients: Gradients


class Room:
    """`run` is the room's; requests share a tiny model."""

    def __init__(self, root: Path, kind: str, run: Callable[[Request, Events], dict[str, str]], **config: Any) -> None:
        self.root, self.kind, self._run = root, kind, run
        self.tokenizer = str(tiny.write_tokenizer(root / "tokenizer"))
        self.model = self.new_model("model", **config)

    def new_model(self, name: str, seed: int = 42, **config: Any) -> str:
        """A model with random weights, as an artifact."""
        spec = {"config": tiny.LLAMA | config, "tokenizer": "tokenizer:t", "seed": seed}
        made = tiny.request(self.root / name, "model", spec, seed, tokenizer=self.tokenizer)
        make_model(made, tiny.Recorder())
        return str(self.root / name / "out" / "main")

    def tokens(self, name: str, *items: Rows) -> str:
        """Token parts, an item a dataset."""
        return tiny.make_tokens(self.root / name, *([rows] for rows in items))

    def request(self, root: Path, spec: dict[str, Any], **inputs: str) -> Request:
        return tiny.request(root, self.kind, spec, **({"base": self.model} | inputs))

    def run(self, root: Path, spec: dict[str, Any], **inputs: str) -> tuple[dict[str, Path], tiny.Recorder]:
        events = tiny.Recorder()
        req = self.request(root, spec, **inputs)
        return {role: Path(req.out) / name for role, name in self._run(req, events).items()}, events

    def check_resume(self, root: Path, spec: dict[str, Any], at: int, resumed: int, **inputs: str) -> tiny.Recorder:
        """A run that is interrupted at step `at`, and goes on from checkpoint `resumed`, against a straight one:
        bytes of every output and the metrics history. Returns the straight one's events."""
        straight, events = self.run(root / "straight", spec, **inputs)
        with pytest.raises(KeyboardInterrupt):
            self._run(self.request(root / "cut", spec, **inputs), tiny.Interrupted(at))
        outputs, again = self.run(root / "cut", spec, **inputs)
        assert again.settings["resumed_from_step"] == resumed
        assert outputs.keys() == straight.keys()
        for role, path in outputs.items():
            assert tiny.tree(path) == tiny.tree(straight[role]), role
        assert again.metrics == events.metrics
        assert again.settings["summary"] == events.settings["summary"]
        return events


class _Watch(TrainerCallback):
    def __init__(self) -> None:
        self.gradients: list[Gradients] = []

    def on_pre_optimizer_step(self, args: Any, state: Any, control: Any, **kwargs: Any) -> None:
        trained = kwargs["model"].named_parameters()
        self.gradients.append({n: p.grad.detach().clone() for n, p in trained if p.grad is not None})


def first_steps(monkeypatch: pytest.MonkeyPatch, module: Any, train: Callable[[], tiny.Recorder]) -> list[Step]:
    """The steps of what `train` trains through `module.train` (a room's own import of it)."""
    watch, real = _Watch(), module.train

    def watched(trainer: Any, *args: Any, **kwargs: Any) -> Any:
        trainer.add_callback(watch)
        return real(trainer, *args, **kwargs)

    monkeypatch.setattr(module, "train", watched)
    events = train()
    losses = [figures["loss"] for _, figures in events.metrics if "loss" in figures]
    return [Step(loss, gradients) for loss, gradients in zip(losses, watch.gradients, strict=True)]


def plain_steps(
    model: torch.nn.Module, loss_of: Callable[[Any], torch.Tensor], steps: int, learning_rate: float
) -> list[Step]:
    """The same by hand: one loss over all rows, AdamW of torch, no clipping, a constant rate."""
    model.train()
    trained = {n: p for n, p in model.named_parameters() if p.requires_grad}
    optimizer = torch.optim.AdamW(trained.values(), lr=learning_rate, weight_decay=0.0)
    found = []
    for _ in range(steps):
        optimizer.zero_grad()
        loss = loss_of(model)
        loss.backward()
        gradients = {n: p.grad.clone() for n, p in trained.items() if p.grad is not None}
        found.append(Step(loss.item(), gradients))
        optimizer.step()
    return found


def plain_model(path: str) -> Any:
    return AutoModelForCausalLM.from_pretrained(path, dtype=torch.float32, local_files_only=True)


def assert_same_steps(found: list[Step], want: list[Step], rel: float = 1e-4) -> None:
    """Float32: losses to `rel`, gradients to `rel` of the largest entry of each (Adam's division amplifies rounding
    from step to step)."""
    assert len(found) == len(want) > 1
    for number, (a, b) in enumerate(zip(found, want, strict=True)):
        assert a.loss == pytest.approx(b.loss, rel=rel), number
        assert a.gradients.keys() == b.gradients.keys()
        for name, gradient in b.gradients.items():
            bound = rel * float(gradient.abs().max()) + 1e-7
            assert (a.gradients[name] - gradient).abs().max() <= bound, (number, name)


# Settings under which a step is of all rows and its gradient is left alone.
BARE = {"batch_size": 64, "max_steps": 3, "learning_rate": 1e-2, "lr_scheduler": "constant", "max_grad_norm": 0.0}
