"""The process that holds a model for `generate`: its answers are those of the engine, token by token."""

import io
import json
import shutil
import sys
from pathlib import Path
from typing import Any

import msgspec
import pytest

sys.path.insert(0, str(Path(__file__).parent))
sys.path.insert(0, str(Path(__file__).parents[1] / "methods" / "sft"))
from sft_runs import LORA, Case

from tunekit.completion import Asked, Opening
from tunekit.engine.talk import Pieces, serve

pytestmark = pytest.mark.torch
TEMPLATE = "{% for m in messages %}<|im_start|>{{ m.role }}:{{ m.content }}<|im_end|>{% endfor %}<|im_start|>"


@pytest.fixture(scope="module")
def case(tmp_path_factory: pytest.TempPathFactory) -> Case:
    return Case(tmp_path_factory.mktemp("talk"))


@pytest.fixture(scope="module")
def adapter(case: Case, tmp_path_factory: pytest.TempPathFactory) -> str:
    spec = {"model": "model:m", "data": ["dataset:a"], "batch_size": 4, "max_steps": 8, "learning_rate": 0.5}
    return str(case.run(tmp_path_factory.mktemp("run"), spec | {"adapter": LORA})[0]["last"])


def talk(opening: Opening, *asked: Asked) -> list[dict[str, Any]]:
    said: list[dict[str, Any]] = []
    lines = b"".join(msgspec.json.encode(line) + b"\n" for line in (opening, *asked))
    serve(io.BytesIO(lines), lambda answer: said.append(json.loads(json.dumps(answer))))
    return said


def completions(said: list[dict[str, Any]]) -> list[str]:
    return [a["text"] for a in said if a["type"] == "completion"]


def by_hand(base: str, adapter: str, prompt: str, count: int) -> str:
    """Transformers and PEFT alone: the likeliest tokens."""
    import torch
    from peft import PeftModel
    from transformers import AutoModelForCausalLM, AutoTokenizer

    model: Any = AutoModelForCausalLM.from_pretrained(base)
    if adapter:
        model = PeftModel.from_pretrained(model, adapter)
    tokenizer = AutoTokenizer.from_pretrained(base)
    ids = tokenizer(prompt, add_special_tokens=False, return_tensors="pt")["input_ids"]
    start = ids.shape[1]
    with torch.no_grad():
        for _ in range(count):
            following = model(ids).logits[0, -1].argmax()
            ids = torch.cat([ids, following[None, None]], dim=1)
            if following == tokenizer.eos_token_id:
                break
    return tokenizer.decode(ids[0, start:], skip_special_tokens=True)


@pytest.mark.parametrize("adapted", [False, True])
def test_the_likeliest_text(case: Case, adapter: str, adapted: bool) -> None:
    found = adapter if adapted else ""
    said = talk(Opening(case.model, found), Asked(["hello you", "and more"], max_tokens=12))
    assert said[0] == {"type": "ready", "template": False, "context": 256, "device": "cpu", "dtype": "float32"}
    assert completions(said) == [by_hand(case.model, found, p, 12) for p in ("hello you", "and more")]
    assert [a["row"] for a in said if a["type"] == "completion"] == [0, 1] and said[-1] == {"type": "end"}


def test_pieces_are_the_completion(case: Case) -> None:
    asked = Asked(["hello"], max_tokens=20, temperature=1.0, seed=3)
    said = talk(Opening(case.model), asked._replace(stream=True), asked)
    streamed, plain = completions(said)
    pieces = [a["text"] for a in said if a["type"] == "piece"]
    assert "".join(pieces) == streamed == plain and len(pieces) > 1


def test_half_a_character_waits() -> None:
    import torch

    said: list[dict[str, Any]] = []
    pieces = Pieces(lambda ids: bytes(ids).decode(errors="replace"), said.append)
    pieces.put(torch.tensor([[1, 2, 3]]))  # the prompt
    for byte in "aäb".encode():
        pieces.put(torch.tensor([byte]))
    pieces.end()
    assert [a["text"] for a in said] == ["a", "ä", "b"]


def test_seeds(case: Case) -> None:
    asked = Asked(["hello"], max_tokens=12, temperature=1.0, n=3, seed=1)
    first, again, other = (completions(talk(Opening(case.model), a)) for a in (asked, asked, asked._replace(seed=2)))
    assert first == again != other and len(set(first)) == 3


def test_the_template_of_the_artifact(case: Case, tmp_path: Path) -> None:
    base = tmp_path / "chat"
    shutil.copytree(case.model, base)
    (base / "chat_template.jinja").write_text(TEMPLATE)
    turns = [{"role": "system", "content": "be"}, {"role": "user", "content": "hi"}]
    said = talk(Opening(str(base)), Asked(["hi", turns], max_tokens=6))
    assert said[0]["template"]
    prompts = ["<|im_start|>user:hi<|im_end|><|im_start|>",
               "<|im_start|>system:be<|im_end|><|im_start|>user:hi<|im_end|><|im_start|>"]  # fmt: skip
    assert completions(said) == [by_hand(case.model, "", p, 6) for p in prompts]
    raw = talk(Opening(str(base), raw=True), Asked(["hi"], max_tokens=6))
    assert completions(raw) == [by_hand(case.model, "", "hi", 6)]


def test_as_much_as_fits_if_nobody_says_how_much(case: Case) -> None:
    """The context is 256 tokens, and the prompt takes 250 of them."""
    said = talk(Opening(case.model), Asked(["x" * 250]))
    (found,) = [a for a in said if a["type"] == "completion"]
    assert found["tokens"] == 6 or (found["tokens"] < 6 and found["finished"])
    said = talk(Opening(case.model), Asked(["x" * 250], max_tokens=7))
    assert [a["slug"] for a in said if a["type"] == "error"] == ["context-too-long"]


def test_mistakes_are_answers(case: Case, tmp_path: Path) -> None:
    """One question that is wrong ends nothing; a model that cannot answer ends all."""
    turns = [{"role": "user", "content": "hi"}]
    asked = [Asked([turns]), Asked(["x" * 300]), Asked([""]), Asked(["fine"], max_tokens=2)]
    said = talk(Opening(case.model), *asked)
    errors = [(a["slug"], a["fatal"]) for a in said if a["type"] == "error"]
    assert errors == [("no-template", False), ("context-too-long", False), ("empty-prompt", False)]
    assert len(completions(said)) == 1
    base = tmp_path / "reward"
    shutil.copytree(case.model, base)
    config = json.loads((base / "config.json").read_text()) | {"architectures": ["LlamaForSequenceClassification"]}
    (base / "config.json").write_text(json.dumps(config))
    (only,) = talk(Opening(str(base)), Asked(["x"]))
    assert only["slug"] == "not-generative" and only["fatal"]
