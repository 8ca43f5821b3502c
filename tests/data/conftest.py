"""A small vocabulary, learnt once, for everything that turns text into tokens."""

from __future__ import annotations

import json
import sys
from pathlib import Path

import pytest
from tokenizers import Tokenizer, models, pre_tokenizers, processors, trainers

from tunekit.data.vocabulary import Vocabulary, open_vocabulary

sys.path.insert(0, str(Path(__file__).parent))  # `zoo`, which several tests here share

CHATML = Path(__file__).parents[2] / "tunekit" / "data" / "templates" / "chatml.jinja"
TEXT = ["user\nassistant\nsystem\ntool\n" * 3, "what is the sum\n\nof the two numbers\n\nthe sum is\n\n\n" * 5]


@pytest.fixture(scope="session")
def tokenizer_dir(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """ChatML, no bos; its merges include a double line break, which can lie across the start of a turn."""
    root = tmp_path_factory.mktemp("tokenizer")
    tokenizer = Tokenizer(models.BPE())
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    # As GPT-2's: offsets without the leading space. What is labelled must not depend on it.
    tokenizer.post_processor = processors.ByteLevel(trim_offsets=True)
    trainer = trainers.BpeTrainer(
        vocab_size=400,
        show_progress=False,
        special_tokens=["<|pad|>", "<|im_start|>", "<|im_end|>", "<s>"],
        initial_alphabet=sorted(pre_tokenizers.ByteLevel.alphabet()),
    )
    tokenizer.train_from_iterator(TEXT, trainer)
    tokenizer.save(str(root / "tokenizer.json"))
    write_config(root, eos_token="<|im_end|>", pad_token="<|pad|>")
    (root / "chat_template.jinja").write_text(CHATML.read_text())
    return root


@pytest.fixture(scope="session")
def vocabulary(tokenizer_dir: Path) -> Vocabulary:
    return open_vocabulary(tokenizer_dir)


@pytest.fixture
def variant(tokenizer_dir: Path, tmp_path: Path):
    """A copy of the vocabulary with another config or template."""

    def make(template: str | None = None, **config: object) -> Path:
        root = tmp_path / f"variant-{len(list(tmp_path.iterdir()))}"
        root.mkdir()
        (root / "tokenizer.json").write_bytes((tokenizer_dir / "tokenizer.json").read_bytes())
        write_config(root, **({"eos_token": "<|im_end|>", "pad_token": "<|pad|>"} | config))
        text = CHATML.read_text() if template is None else template
        if text:
            (root / "chat_template.jinja").write_text(text)
        return root

    return make


def write_config(root: Path, **config: object) -> None:
    (root / "tokenizer_config.json").write_text(json.dumps(config))
