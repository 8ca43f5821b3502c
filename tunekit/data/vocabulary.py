"""A tokenizer directory as far as tokens need it: ids, special tokens, chat template; no Transformers."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any, NamedTuple

from tokenizers import Tokenizer

from tunekit.data.template import ChatTemplate
from tunekit.errors import ActionError
from tunekit.foreign import json_of

# What an artifact with a tokenizer may hold of it; the first is the only one that must be there.
TOKENIZER_FILES = ("tokenizer.json", "tokenizer_config.json", "special_tokens_map.json", "chat_template.jinja")
NAMED_TOKENS = ("bos_token", "eos_token", "unk_token", "sep_token", "pad_token", "cls_token", "mask_token")


class Vocabulary(NamedTuple):
    """An opened tokenizer. Ids are None where the token is not defined."""

    tokenizer: Tokenizer  # without post-processor, truncation and padding: text to ids and offsets, nothing added
    tokens: dict[str, str]  # `eos_token` → its text
    template: ChatTemplate | None
    bos_id: int | None
    eos_id: int | None
    pad_id: int | None
    adds_bos: bool  # whether the tokenizer itself starts a text with `bos_token`, as inference will
    special_ids: frozenset[int]
    stop_ids: frozenset[int]  # generation stops at these: `eos_token` and what generation_config.json adds
    size: int


def open_vocabulary(path: str | os.PathLike[str]) -> Vocabulary:
    """The tokenizer in a directory.

    Padding may be the end-of-text token, as it is in many of them: labels are kept by place, so padding hides none.
    Raises ActionError (`no-tokenizer`, `bad-tokenizer`, `unknown-special-token`, `bad-template`).
    """
    root = Path(path)
    tokenizer = _backend(root)
    config = read_object(root / "tokenizer_config.json")
    tokens = special_tokens(read_object(root / "special_tokens_map.json") | config)
    ids = {name: tokenizer.token_to_id(text) for name, text in tokens.items()}
    for name in ("bos_token", "eos_token", "pad_token"):
        if name in tokens and ids[name] is None:
            raise ActionError(
                f"{name} {tokens[name]!r} is not in the vocabulary",
                slug="unknown-special-token",
                hint=f"name a token of tokenizer.json as `{name}` in the tokenizer's table",
            )
    adds_bos = _adds_bos(tokenizer, ids.get("bos_token"), config)
    tokenizer.post_processor = None  # it may trim offsets, and adds tokens that we add ourselves
    template = chat_template_text(root, config)
    added = tokenizer.get_added_tokens_decoder()
    return Vocabulary(
        tokenizer=tokenizer,
        tokens=tokens,
        template=ChatTemplate(template, tokens) if template else None,
        bos_id=ids.get("bos_token"),
        eos_id=ids.get("eos_token"),
        pad_id=ids.get("pad_token"),
        adds_bos=adds_bos,
        special_ids=frozenset(id for id, token in added.items() if token.special),
        stop_ids=_stop_ids(root, ids.get("eos_token")),
        size=tokenizer.get_vocab_size(with_added_tokens=True),
    )


def _backend(root: Path) -> Tokenizer:
    file = root / "tokenizer.json"
    if not file.is_file():
        raise ActionError(
            f"{root} has no tokenizer.json",
            slug="no-tokenizer",
            hint="only fast tokenizers can be used: save it once with Transformers' AutoTokenizer",
        )
    try:
        tokenizer = Tokenizer.from_file(str(file))
    except Exception as e:  # tokenizers raises bare Exception
        raise ActionError(f"{file} cannot be read: {e}", slug="bad-tokenizer") from e
    tokenizer.no_truncation()
    tokenizer.no_padding()
    return tokenizer


def special_tokens(config: dict[str, Any]) -> dict[str, str]:
    """Named special tokens; a value is text or {"content": text}."""
    found = {name: config.get(name) for name in NAMED_TOKENS}
    texts = {name: v.get("content") if isinstance(v, dict) else v for name, v in found.items()}
    return {name: text for name, text in texts.items() if isinstance(text, str) and text}


def chat_template_text(root: Path, config: dict[str, Any]) -> str:
    """The template beside the tokenizer, else the one in its config (of several, `default`); "" without one."""
    file = root / "chat_template.jinja"
    if file.is_file():
        return file.read_text(encoding="utf-8")
    found = config.get("chat_template") or ""
    if isinstance(found, list):
        found = next((t["template"] for t in found if t.get("name") == "default"), "")
    return str(found)


def read_object(file: Path) -> dict[str, Any]:
    """A JSON object; {} when there is no such file. Raises ActionError (`bad-tokenizer`)."""
    if not file.is_file():
        return {}
    try:
        body = json_of(file.read_bytes())
    except ValueError as e:
        raise ActionError(f"{file} is not JSON: {e}", slug="bad-tokenizer") from e
    if not isinstance(body, dict):
        raise ActionError(f"{file} is not a JSON object", slug="bad-tokenizer")
    return body


def _stop_ids(root: Path, eos: int | None) -> frozenset[int]:
    """A model folder's generation configuration names further ones (of Llama 3: the end of a turn)."""
    named = read_object(root / "generation_config.json").get("eos_token_id")
    found = named if isinstance(named, list) else [named]
    return frozenset(id for id in [eos, *found] if isinstance(id, int))


def _adds_bos(tokenizer: Tokenizer, bos: int | None, config: dict[str, Any]) -> bool:
    if bos is None:
        return False
    declared = config.get("add_bos_token")
    if declared is not None:
        return bool(declared)
    return tokenizer.encode("").ids[:1] == [bos]
