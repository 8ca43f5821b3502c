"""The tensors of a model by name, without reading one: headers of safetensors, or arithmetic over a configuration."""

from __future__ import annotations

import json
import math
import os
from collections.abc import Iterable
from pathlib import Path
from typing import IO, Any, NamedTuple

from tunekit.foreign import inside, json_of
from tunekit.plan.planner import Planner
from tunekit.store import artifacts

_HEADER = 100 << 20  # bytes, as safetensors itself allows
_CONFIG = 1 << 20
# Families whose tensors follow from their configuration: what Transformers takes where a key is left out.
FAMILIES: dict[str, dict[str, Any]] = {
    "llama": {"intermediate_size": 11008},
    "mistral": {"intermediate_size": 14336, "num_key_value_heads": 8},
    "qwen2": {"intermediate_size": 22016, "num_key_value_heads": 32, "qkv_bias": True},
    "qwen3": {"intermediate_size": 22016, "num_key_value_heads": 32, "head_dim": 128, "qk_norm": True},
}
_DEFAULTS = {"hidden_size": 4096, "num_hidden_layers": 32, "num_attention_heads": 32, "vocab_size": 32000}


class Weights(NamedTuple):
    """`tensors`: name → shape. `origin`: where that is known from, in words."""

    config: dict[str, Any]
    tensors: dict[str, tuple[int, ...]]
    origin: str

    @property
    def parameters(self) -> int:
        return sum(math.prod(shape) for shape in self.tensors.values())


class Unknown(NamedTuple):
    """Why nothing can be said, and what would help."""

    why: str


def weights_of(planner: Planner, label: str) -> Weights | Unknown:
    """Of the full weights that an action makes. A merge and a run have the tensors of their base."""
    while True:
        found = _built(planner, label)
        if found is not None:
            return found
        action = planner.graph.actions[label]
        if action.kind == "model":
            return _declared(planner, label)
        base = action.inputs.get("base")
        if not base:
            return Unknown(f"{label} is not built")
        label = base[0].action


def _built(planner: Planner, label: str) -> Weights | None:
    """From the artifact in the store, if it is full weights and there."""
    node = planner.nodes.get(label)
    main = (node.outputs or {}).get("main") if node else None
    entries = artifacts.read_tree(planner.store, main) if main else None
    if not entries or not any(e.path == "config.json" for e in entries):
        return None
    files = {e.path: planner.store.object(e.digest) for e in entries}
    return _of_files(files, f"{label}, which is built")


def _declared(planner: Planner, label: str) -> Weights | Unknown:
    """From the model's source, as far as it is here, or from its configuration."""
    action = planner.graph.actions[label]
    config = action.spec.get("config")
    if config:
        return from_config(config, _vocabulary(planner, label))
    source = action.inputs.get("source", [])
    for edge in source:
        found = _built(planner, edge.action)
        if found is not None:
            return found
        locator = planner.graph.actions[edge.action].source
        if locator.startswith("path:"):
            found = _of_folder(planner.inputs.root, locator.removeprefix("path:").partition("#")[0])
            if found is not None:
                return found
    return Unknown(f"the weights of {label} are not here yet: `tunekit build {label}` gets them")


def _of_folder(root: Path, name: str) -> Weights | None:
    """Files of the project that no link leads away to."""
    folder = root / name
    if not folder.is_dir() or not inside(root, folder):
        return None
    files = {p.name: p for p in folder.iterdir() if p.is_file() and not p.is_symlink()}
    return _of_files(files, f"path:{name}") if "config.json" in files else None


def _of_files(files: dict[str, Path], origin: str) -> Weights | None:
    tensors: dict[str, tuple[int, ...]] = {}
    try:
        with open(files["config.json"], "rb") as file:
            config = json_of(file.read(_CONFIG))
        for name, path in files.items():
            if name.endswith(".safetensors"):
                with open(path, "rb") as file:
                    tensors |= header_of(file)
    except (OSError, ValueError, KeyError):
        return None
    return Weights(config, tensors, origin) if tensors and isinstance(config, dict) else None


def header_of(file: IO[bytes]) -> dict[str, tuple[int, ...]]:
    """Name → shape of a safetensors file. ValueError if it is none."""
    size = int.from_bytes(file.read(8), "little")
    if not 2 <= size <= _HEADER:
        raise ValueError(f"a header of {size} bytes")
    text = file.read(size)
    if len(text) < size:
        raise ValueError(f"it ends within its header of {size} bytes")
    body = json_of(text)
    if not isinstance(body, dict):
        raise ValueError("the header is no object")
    found = {}
    for name, entry in body.items():
        if name == "__metadata__":
            continue
        shape = entry.get("shape") if isinstance(entry, dict) else None
        if not isinstance(shape, list) or not all(isinstance(n, int) and 0 <= n < 2**48 for n in shape):
            raise ValueError(f"{name} has no shape")
        found[str(name)] = tuple(shape)
    return found


def _vocabulary(planner: Planner, label: str) -> int:
    """Of the tokenizer that a new model gets: counted where it is built, else as it is declared; 0 if neither."""
    for edge in planner.graph.actions[label].inputs.get("tokenizer", []):
        node = planner.nodes.get(edge.action)
        main = (node.outputs or {}).get("main") if node else None
        entries = artifacts.read_tree(planner.store, main) if main else None
        file = next((e for e in entries or [] if e.path == "tokenizer.json"), None)
        if file is not None and os.path.exists(path := planner.store.object(file.digest)):
            body = json.loads(path.read_bytes())
            ids = body["model"]["vocab"]
            named = set(ids) if isinstance(ids, dict) else {word for word, *_ in ids}
            return len(named | {t["content"] for t in body.get("added_tokens", [])})
        return int(planner.graph.actions[edge.action].spec.get("vocab_size", 0))
    return 0


def from_config(config: dict[str, Any], vocabulary: int = 0) -> Weights | Unknown:
    """The tensors that Transformers makes of a configuration, for families that are known here."""
    family = str(config.get("model_type", ""))
    if family not in FAMILIES:
        known = ", ".join(sorted(FAMILIES))
        return Unknown(f"tensors of a new `{family}` are known once it is built (before that: of {known})")
    c = {**_DEFAULTS, **FAMILIES[family], **({"vocab_size": vocabulary} if vocabulary else {}), **config}
    try:
        return Weights(c, dict(_transformer(c)), "its configuration")
    except (TypeError, KeyError, ZeroDivisionError) as e:
        return Unknown(f"the configuration cannot be: {e}")


def _transformer(c: dict[str, Any]) -> Iterable[tuple[str, tuple[int, ...]]]:
    hidden, middle, heads = c["hidden_size"], c["intermediate_size"], c["num_attention_heads"]
    size = c.get("head_dim") or hidden // heads
    queries, keys = heads * size, (c.get("num_key_value_heads") or heads) * size
    linear = {
        "self_attn.q_proj": (queries, hidden), "self_attn.k_proj": (keys, hidden),
        "self_attn.v_proj": (keys, hidden), "self_attn.o_proj": (hidden, queries),
        "mlp.gate_proj": (middle, hidden), "mlp.up_proj": (middle, hidden), "mlp.down_proj": (hidden, middle),
    }  # fmt: skip
    attention, qkv = bool(c.get("attention_bias")), bool(c.get("qkv_bias"))
    yield "model.embed_tokens.weight", (c["vocab_size"], hidden)
    for n in range(c["num_hidden_layers"]):
        at = f"model.layers.{n}."
        for name, shape in linear.items():
            yield f"{at}{name}.weight", shape
            of_attention = name.startswith("self_attn.")
            if (of_attention and (attention or (qkv and "o_proj" not in name))) or (
                not of_attention and c.get("mlp_bias")
            ):
                yield f"{at}{name}.bias", shape[:1]
        yield f"{at}input_layernorm.weight", (hidden,)
        yield f"{at}post_attention_layernorm.weight", (hidden,)
        if c.get("qk_norm"):
            yield f"{at}self_attn.q_norm.weight", (size,)
            yield f"{at}self_attn.k_norm.weight", (size,)
    yield "model.norm.weight", (hidden,)
    if not c.get("tie_word_embeddings"):
        yield "lm_head.weight", (c["vocab_size"], hidden)
