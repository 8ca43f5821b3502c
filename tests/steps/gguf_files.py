"""GGUF files of small models: by the library that makes them (`gguf`), and by hand for what no tool would write."""

from __future__ import annotations

import json
import struct
from pathlib import Path
from typing import Any

import numpy as np

# (name of the GGUF tensor, name in Transformers' Llama); `{}` is the layer
LLAMA_NAMES = {
    "token_embd.weight": "model.embed_tokens.weight",
    "output_norm.weight": "model.norm.weight",
    "output.weight": "lm_head.weight",
    "blk.{}.attn_norm.weight": "model.layers.{}.input_layernorm.weight",
    "blk.{}.ffn_norm.weight": "model.layers.{}.post_attention_layernorm.weight",
    "blk.{}.attn_q.weight": "model.layers.{}.self_attn.q_proj.weight",
    "blk.{}.attn_k.weight": "model.layers.{}.self_attn.k_proj.weight",
    "blk.{}.attn_v.weight": "model.layers.{}.self_attn.v_proj.weight",
    "blk.{}.attn_output.weight": "model.layers.{}.self_attn.o_proj.weight",
    "blk.{}.ffn_gate.weight": "model.layers.{}.mlp.gate_proj.weight",
    "blk.{}.ffn_up.weight": "model.layers.{}.mlp.up_proj.weight",
    "blk.{}.ffn_down.weight": "model.layers.{}.mlp.down_proj.weight",
}


def permuted(weight: np.ndarray, heads: int) -> np.ndarray:
    """Rows of a query or key projection as llama.cpp's converter orders them (`LlamaModel.permute`): the two halves of
    each head interleaved, because its rotary embedding turns neighbours."""
    rows, columns = weight.shape
    return weight.reshape(heads, 2, rows // heads // 2, columns).swapaxes(1, 2).reshape(rows, columns)


def write_llama(
    path: Path, weights: dict[str, np.ndarray], config: dict[str, Any], tokenizer: Path, quant: str
) -> dict[str, np.ndarray]:
    """A llama GGUF of Transformers' `weights`, its matrices stored as `quant`. Returns what each tensor must become:
    the values after quantizing and `gguf.dequantize`, by Transformers' name."""
    import gguf

    kind = gguf.GGMLQuantizationType[quant]
    writer = gguf.GGUFWriter(path, "llama")
    writer.add_block_count(config["num_hidden_layers"])
    writer.add_context_length(config["max_position_embeddings"])
    writer.add_embedding_length(config["hidden_size"])
    writer.add_feed_forward_length(config["intermediate_size"])
    writer.add_head_count(config["num_attention_heads"])
    writer.add_head_count_kv(config["num_key_value_heads"])
    writer.add_rope_freq_base(50000.0)
    writer.add_layer_norm_rms_eps(1e-5)
    _add_tokenizer(writer, tokenizer)
    expected: dict[str, np.ndarray] = {}
    heads = {"attn_q": config["num_attention_heads"], "attn_k": config["num_key_value_heads"]}
    for name, ours in _names(config["num_hidden_layers"]):
        if ours not in weights:
            continue  # tied embeddings
        value = weights[ours].astype(np.float32)
        if value.ndim == 1:
            writer.add_tensor(name, value)
            expected[ours] = value
            continue
        count = next((n for part, n in heads.items() if part in name), 0)
        stored = gguf.quantize(permuted(value, count) if count else value, kind)
        writer.add_tensor(name, stored, raw_dtype=kind)
        # the rows that a block format rounds are the same in either order: the oracle never undoes an order
        expected[ours] = gguf.dequantize(gguf.quantize(value, kind), kind)
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()
    return expected


def _names(layers: int) -> list[tuple[str, str]]:
    out = []
    for name, ours in LLAMA_NAMES.items():
        out += [(name.format(i), ours.format(i)) for i in range(layers)] if "{}" in name else [(name, ours)]
    return out


def _add_tokenizer(writer: Any, folder: Path) -> None:
    model = json.loads((folder / "tokenizer.json").read_text())
    config = json.loads((folder / "tokenizer_config.json").read_text())
    vocabulary = model["model"]["vocab"]
    special = {t["content"] for t in model["added_tokens"]}
    tokens = sorted(vocabulary, key=lambda token: vocabulary[token])
    merges = [m if isinstance(m, str) else " ".join(m) for m in model["model"]["merges"]]
    writer.add_tokenizer_model("gpt2")
    writer.add_tokenizer_pre("default")
    writer.add_token_list(tokens)
    writer.add_token_types([3 if token in special else 1 for token in tokens])
    writer.add_token_merges(merges)
    writer.add_eos_token_id(vocabulary[config["eos_token"]])
    writer.add_pad_token_id(vocabulary[config["pad_token"]])
    writer.add_bos_token_id(vocabulary[config["eos_token"]])
    writer.add_chat_template("{% for m in messages %}{{ m.content }}<|im_end|>{% endfor %}")


# -- by hand -----------------------------------------------------------------------------------------------


def text(value: str | bytes) -> bytes:
    data = value.encode() if isinstance(value, str) else value
    return struct.pack("<Q", len(data)) + data


def pair(key: str, kind: int, value: bytes) -> bytes:
    return text(key) + struct.pack("<I", kind) + value


def entry(name: str, shape: tuple[int, ...], kind: int, offset: int) -> bytes:
    return text(name) + struct.pack(f"<I{len(shape)}QIQ", len(shape), *shape, kind, offset)


ARCHITECTURE = pair("general.architecture", 8, text("llama"))


def by_hand(
    pairs: list[bytes], entries: list[bytes], data: bytes, *, version: int = 3, counts: tuple[int, int] | None = None
) -> bytes:
    """A file of these pieces. `counts`: (tensors, settings) that it declares instead of what it has."""
    tensors, settings = counts or (len(entries), len(pairs))
    head = b"GGUF" + struct.pack("<IQQ", version, tensors, settings) + b"".join(pairs) + b"".join(entries)
    return head + b"\0" * (-len(head) % 32) + data
