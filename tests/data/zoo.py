"""Chat templates of many models, and for each a small byte-level vocabulary that has its markers as tokens."""

# ruff: noqa: RUF001  (DeepSeek writes its markers with a full-width bar)

from __future__ import annotations

import json
import re
from functools import cache
from importlib.util import find_spec
from pathlib import Path
from typing import Any

from tokenizers import Tokenizer, decoders, models, pre_tokenizers, trainers

from tunekit.data.encoder import Encoded, Encoder
from tunekit.data.library import template_text
from tunekit.data.vocabulary import Vocabulary, open_vocabulary
from tunekit.errors import ActionError
from tunekit.templates import TEMPLATES

HERE = Path(__file__).parent / "templates"
_MARKER = re.compile(
    r"<\|[^|<>\s]{1,30}\|>|<｜[^｜<>]{1,30}｜>|<(?:start|end)_of_(?:turn|utterance|image)>|\[/?INST\]|<turn\|>|<\|turn>"
)
_TEXT = ["user\nassistant\nsystem\ntool\n" * 3, "what is the sum\n\nof the two numbers\n\nthe sum is\n\n\n" * 5]


def trl_folder() -> Path:
    spec = find_spec("trl")
    assert spec is not None and spec.origin is not None
    return Path(spec.origin).parent / "chat_templates"


@cache
def templates() -> dict[str, str]:
    """Name → text: tunekit's own, those in this folder, and those that TRL installs."""
    own = {name: template_text(name) for name in TEMPLATES}
    here = {path.stem: path.read_text() for path in sorted(HERE.glob("*.jinja"))}
    theirs = {f"trl/{path.stem}": path.read_text() for path in sorted(trl_folder().glob("*.jinja"))}
    return own | here | theirs


def unmarked(text: str) -> str:
    """A template without its `{% generation %}`, printing the same."""
    text = re.sub(r"(\{%-?\s*)generation(\s*-?%\})", r"\1if true\2", text)
    return re.sub(r"(\{%-?\s*)endgeneration(\s*-?%\})", r"\1endif\2", text)


def folder_of(root: Path, text: str, eos: str = "</s>") -> Path:
    """A tokenizer folder for a template."""
    root.mkdir(parents=True, exist_ok=True)
    special = sorted({*_MARKER.findall(text), "<s>", "</s>", "<pad>"})
    tokenizer = Tokenizer(models.BPE())
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    tokenizer.decoder = decoders.ByteLevel()
    alphabet = sorted(pre_tokenizers.ByteLevel.alphabet())
    trainer = trainers.BpeTrainer(
        vocab_size=600, show_progress=False, special_tokens=special, initial_alphabet=alphabet
    )
    tokenizer.train_from_iterator(_TEXT, trainer)
    tokenizer.save(str(root / "tokenizer.json"))
    config = {"bos_token": "<s>", "eos_token": eos, "pad_token": "<pad>", "clean_up_tokenization_spaces": False}
    (root / "tokenizer_config.json").write_text(json.dumps(config))
    (root / "chat_template.jinja").write_text(text)
    return root


def vocabulary_of(root: Path, text: str, eos: str = "</s>") -> Vocabulary:
    return open_vocabulary(folder_of(root, text, eos))


def encode(vocabulary: Vocabulary, row: dict[str, Any], *args: Any, **more: Any) -> Encoded:
    (encoded,) = Encoder(vocabulary, "chat", *args, **more).encode([row])
    return encoded


def refusal(vocabulary: Vocabulary, row: dict[str, Any], *args: Any, **more: Any) -> ActionError | None:
    """Why a row is refused; None if it is not."""
    try:
        encode(vocabulary, row, *args, **more)
    except ActionError as e:
        return e
    return None


def labelled(vocabulary: Vocabulary, encoded: Encoded) -> str:
    """The labelled tokens as text."""
    return text_of(vocabulary, [i for i, on in zip(encoded.input_ids, encoded.labelled, strict=True) if on])


def text_of(vocabulary: Vocabulary, ids: list[int]) -> str:
    vocabulary.tokenizer.decoder = decoders.ByteLevel()
    return str(vocabulary.tokenizer.decode(ids, skip_special_tokens=False))


CALL = {
    "type": "function",
    "id": "call12345",
    "function": {"name": "get_weather", "arguments": json.dumps({"city": "Paris"})},
}
TOOL = {
    "type": "function",
    "function": {
        "name": "get_weather",
        "description": "The weather.",
        "parameters": {
            "type": "object",
            "properties": {"city": {"type": "string", "description": "Where."}},
            "required": ["city"],
        },
    },
}
CONVERSATIONS: dict[str, dict[str, Any]] = {
    "turns": {
        "messages": [
            {"role": "user", "content": "Hi there"},
            {"role": "assistant", "content": "Hello you"},
            {"role": "user", "content": "What now?"},
            {"role": "assistant", "content": "Nothing much"},
        ]
    },
    "system": {
        "messages": [
            {"role": "system", "content": "Be brief."},
            {"role": "user", "content": "Hi there"},
            {"role": "assistant", "content": "Hello you"},
        ]
    },
    "thoughts": {
        "messages": [
            {"role": "user", "content": "Hi there"},
            {"role": "assistant", "content": "Hello you", "reasoning_content": "They greet"},
            {"role": "user", "content": "What now?"},
            {"role": "assistant", "content": "Nothing much", "reasoning_content": "Let me see"},
        ]
    },
    "call": {
        "messages": [
            {"role": "user", "content": "Weather?"},
            {"role": "assistant", "content": None, "tool_calls": [CALL]},
            {"role": "tool", "content": "sunny", "name": "get_weather", "tool_call_id": "call12345"},
            {"role": "assistant", "content": "It is fine"},
        ],
        "tools": [TOOL],
    },
}
