"""Rows of text for TRL's own preparation and for ours, and the reference of a request."""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import Any

import torch
from tiny_room import Gradients, Room, Step, tiny
from transformers import AutoTokenizer, TrainerCallback

from tunekit.data.library import template_text
from tunekit.data.rowset import write_dataset
from tunekit.protocol import Input, Request
from tunekit.steps.reference.run import run as score
from tunekit.steps.tokens.run import run as tokenize

WORDS = ["one", "two", "three", "four", "five", "six", "seven"]


def chat_tokenizer(room: Room) -> Path:
    """The room's tokenizer with a chat template."""
    root = room.root / "chatml"
    if not root.exists():
        shutil.copytree(room.tokenizer, root)
        (root / "chat_template.jinja").write_text(template_text("chatml"))
    return root


def text_pairs(count: int, seed: int) -> list[dict[str, Any]]:
    """Conversations: what is chosen counts on, what is rejected is some number."""
    generator = torch.Generator().manual_seed(seed)
    draw = lambda: int(torch.randint(0, len(WORDS), (), generator=generator))  # noqa: E731
    rows = []
    for _ in range(count):
        first, length = draw(), 1 + draw() % 3
        counted = [WORDS[(first + i) % len(WORDS)] for i in range(1, length + 1)]
        wrong = [WORDS[draw()] for _ in range(1 + draw() % 3)]
        wrong = wrong if wrong != counted else [*wrong, "?"]
        said = {"prompt": ("user", WORDS[first]), "chosen": ("assistant", " ".join(counted))}
        said |= {"rejected": ("assistant", " ".join(wrong))}
        rows.append({name: [{"role": role, "content": text}] for name, (role, text) in said.items()})
    return rows


def text_tokens(room: Room, name: str, rows: list[list[dict[str, Any]]], form: str, reads: list[str]) -> str:
    """Token parts of datasets of text by the room of tokens; `all`: what TRL trains on."""
    inputs, items = [], []
    for number, some in enumerate(rows):
        data = room.root / name / f"data-{number}"
        data.parent.mkdir(exist_ok=True)
        write_dataset(data, some, form)
        for what in reads:
            inputs.append(Input(str(data), "sha256:" + "1" * 64, "dataset", "dataset:a"))
            items.append({"format": form, "reads": what, "train_on": "all"})
    made = tiny.request(room.root / name / "made", "tokens", {"items": items}, tokenizer=str(chat_tokenizer(room)))
    tokenize(made._replace(inputs={**made.inputs, "data": inputs}), tiny.Recorder())
    return str(Path(made.out) / "main")


def reference(room: Room, root: Path, spec: dict[str, Any], **inputs: str) -> str:
    """The reference of a run by the room that makes it."""
    made = tiny.request(root, "reference", spec, **({"base": room.model} | inputs))
    score(made, tiny.Recorder())
    return str(Path(made.out) / "main")


class Watch(TrainerCallback):
    """What steps a plain trainer takes."""

    def __init__(self) -> None:
        self.gradients: list[Gradients] = []

    def on_pre_optimizer_step(self, args: Any, state: Any, control: Any, **kwargs: Any) -> None:
        trained = kwargs["model"].named_parameters()
        self.gradients.append({n: p.grad.detach().clone() for n, p in trained if p.grad is not None})

    def steps(self, trainer: Any) -> list[Step]:
        losses = [entry["loss"] for entry in trainer.state.log_history if "loss" in entry]
        return [Step(loss, gradients) for loss, gradients in zip(losses, self.gradients, strict=True)]


def trl_steps(room: Room, trainer_class: Any, config: Any, model: Any, rows: Any, root: Path, **settings: Any) -> Any:
    """A script as one writes it for TRL: its own tokens, its own reference. One batch of all rows, AdamW, no clipping,
    a small learning rate (what Adam makes of rounding grows with it). Returns the steps and the trainer."""
    from datasets import Dataset

    args = config(
        output_dir=str(root),
        per_device_train_batch_size=len(rows),
        learning_rate=1e-3,
        lr_scheduler_type="constant",
        max_grad_norm=0.0,
        max_steps=3,
        logging_steps=1,
        report_to="none",
        use_cpu=True,
        bf16=False,
        gradient_checkpointing=False,
        disable_dropout=False,
        save_strategy="no",
        disable_tqdm=True,
        **settings,
    )
    watch = Watch()
    trainer = trainer_class(
        model=model,
        args=args,
        train_dataset=Dataset.from_list(rows),
        processing_class=AutoTokenizer.from_pretrained(chat_tokenizer(room)),
        callbacks=[watch],
    )
    trainer.train()
    return watch.steps(trainer), trainer


def with_digest(request: Request, role: str, digest: str) -> Request:
    """The request with other weights of a role, as far as digests tell."""
    (only,) = request.inputs[role]
    return request._replace(inputs={**request.inputs, role: [only._replace(digest=digest)]})
