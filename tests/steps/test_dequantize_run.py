"""GGUF to safetensors, held against `gguf`'s own arithmetic tensor by tensor and against the model that was stored."""

from __future__ import annotations

import json
import shutil
import struct
import sys
from pathlib import Path
from typing import Any

import pytest

sys.path.insert(0, str(Path(__file__).parent))
sys.path.insert(0, str(Path(__file__).parents[1] / "engine"))
import numpy as np
import tiny_stack as tiny
import torch
from gguf_files import ARCHITECTURE, by_hand, entry, pair, permuted, write_llama
from safetensors.torch import load_file

from tunekit.engine.loading import load_policy, load_tokenizer
from tunekit.errors import ActionError
from tunekit.steps.dequantize.run import run
from tunekit.steps.model.run import run as run_model

pytestmark = pytest.mark.torch
pytest.importorskip("gguf")
SIZE = 260


@pytest.fixture(scope="module")
def tokenizer(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Bytes, special tokens and one merge."""
    folder = tiny.write_tokenizer(tmp_path_factory.mktemp("t") / "tokenizer")
    body = json.loads((folder / "tokenizer.json").read_text())
    body["model"]["vocab"]["hi"] = SIZE - 1
    body["model"]["merges"] = [["h", "i"]]
    (folder / "tokenizer.json").write_text(json.dumps(body))
    return folder


def llama(tied: bool) -> Any:
    from transformers import LlamaConfig, LlamaForCausalLM

    config = {k: v for k, v in tiny.LLAMA.items() if k != "model_type"}
    torch.manual_seed(3)
    made = LlamaForCausalLM(
        LlamaConfig(**config, vocab_size=SIZE, rope_theta=50000.0, rms_norm_eps=1e-5, tie_word_embeddings=tied)
    )
    for norm in (p for n, p in made.named_parameters() if "norm" in n):
        torch.nn.init.uniform_(norm, 0.5, 1.5)
    return made.eval()


def arrays(model: Any) -> dict[str, np.ndarray]:
    return {name: p.detach().numpy() for name, p in model.named_parameters()}


def source(folder: Path) -> Path:
    (folder / "source").mkdir(parents=True)
    return folder / "source"


def convert(folder: Path, events: tiny.Recorder | None = None, **spec: Any) -> Path:
    shutil.rmtree(folder / "out", ignore_errors=True)
    req = tiny.request(folder, "dequantize", spec, source=str(folder / "source"))
    assert run(req, events or tiny.Recorder()) == {"main": "main"}
    return Path(req.out) / "main"


def refused(folder: Path, **spec: Any) -> ActionError:
    with pytest.raises(ActionError) as found:
        convert(folder, **spec)
    return found.value


@pytest.mark.oracle
@pytest.mark.parametrize("tied", [True, False])
@pytest.mark.parametrize("quant", ["F32", "F16", "BF16", "Q8_0", "Q4_0", "Q4_1", "Q5_0", "Q5_1"])
def test_every_tensor_is_what_gguf_says(tmp_path: Path, tokenizer: Path, quant: str, tied: bool) -> None:
    model = llama(tied)
    expected = write_llama(source(tmp_path) / "m.gguf", arrays(model), tiny.LLAMA, tokenizer, quant)
    events = tiny.Recorder()
    out = convert(tmp_path, events)
    got = load_file(out / "model.safetensors")
    assert got.keys() == expected.keys()
    for name, value in expected.items():
        assert np.array_equal(got[name].numpy(), value), name
    assert events.settings["stored"] == ({"F32": len(got)} if quant == "F32" else {"F32": 5, quant: len(got) - 5})
    ids = torch.arange(3, 40)[None]
    with torch.no_grad():
        logits = load_policy(str(out), trainable=False).model(input_ids=ids).logits
        model.load_state_dict({k: torch.from_numpy(v) for k, v in expected.items()}, strict=False)
        assert torch.equal(logits, model(input_ids=ids).logits)


@pytest.mark.oracle
@pytest.mark.parametrize("quant", ["Q8_0", "Q4_0", "Q4_1"])
def test_transformers_own_torch_code_unpacks_the_same(quant: str) -> None:
    """The loader unpacks with `gguf`, and so does the test above: here is a second writing of the arithmetic."""
    import gguf
    from transformers.integrations.gguf.dequant import dequantize

    kind = gguf.GGMLQuantizationType[quant]
    blocks = gguf.quantize(np.random.default_rng(0).normal(size=(8, 64)).astype(np.float32), kind)
    assert np.array_equal(
        gguf.dequantize(blocks, kind), dequantize(torch.from_numpy(blocks), int(kind)).numpy().reshape(8, 64)
    )


def test_a_permutation_that_is_its_own_inverse_would_prove_nothing() -> None:
    rows = np.arange(16.0)[:, None]
    once = permuted(rows, 2)
    assert once[:8, 0].tolist() == [0, 4, 1, 5, 2, 6, 3, 7] and not np.array_equal(permuted(once, 2), rows)


def test_tokenizer_template_and_special_tokens(tmp_path: Path, tokenizer: Path) -> None:
    write_llama(source(tmp_path) / "m.gguf", arrays(llama(True)), tiny.LLAMA, tokenizer, "F16")
    out = convert(tmp_path, dtype="bfloat16")
    here, there = load_tokenizer(str(out)), load_tokenizer(str(tokenizer))
    for said in ("hi, this is 1 + 2 = 3", "é 漢字 🙂\n\n\ttab<|im_end|>"):
        assert here(said)["input_ids"] == there(said)["input_ids"] and here.decode(here(said)["input_ids"]) == said
    assert here.apply_chat_template([{"role": "user", "content": "hi"}], tokenize=False) == "hi<|im_end|>"
    config = json.loads((out / "config.json").read_text())
    assert [config[k] for k in ("bos_token_id", "eos_token_id", "pad_token_id")] == [1, 1, 0]
    assert config["rope_parameters"]["rope_theta"] == 50000.0 and config["dtype"] == "bfloat16"
    assert "quantization_config" not in config and config["vocab_size"] == SIZE
    assert {t.dtype for t in load_file(out / "model.safetensors").values()} == {torch.bfloat16}
    again = convert_copy(tmp_path, dtype="bfloat16")
    assert tiny.tree(out) == tiny.tree(again)


def convert_copy(folder: Path, **spec: Any) -> Path:
    """The same in another folder."""
    shutil.copytree(folder / "source", folder / "elsewhere" / "deep" / "source")
    return convert(folder / "elsewhere" / "deep", **spec)


def test_a_model_of_it_is_the_same_bytes(tmp_path: Path, tokenizer: Path) -> None:
    write_llama(source(tmp_path) / "m.gguf", arrays(llama(True)), tiny.LLAMA, tokenizer, "Q8_0")
    bare = convert(tmp_path, tokenizer=False)
    assert not (bare / "tokenizer.json").exists()
    spec = {"source": "path:m.gguf", "tokenizer": "tokenizer:t"}
    req = tiny.request(tmp_path / "model", "model", spec, source=str(bare), tokenizer=str(tokenizer))
    run_model(req, tiny.Recorder())
    copy = Path(req.out) / "main"
    assert (copy / "model.safetensors").read_bytes() == (bare / "model.safetensors").read_bytes()
    assert (copy / "tokenizer.json").read_bytes() == (tokenizer / "tokenizer.json").read_bytes()


def test_a_tensor_without_a_place_is_not_dropped(tmp_path: Path, tokenizer: Path) -> None:
    """`rope_freqs` is how Llama 3.1 files say their rotary scaling; Transformers reads past it."""
    weights = arrays(llama(True))
    write_llama(source(tmp_path) / "m.gguf", weights, tiny.LLAMA, tokenizer, "F32")
    path = tmp_path / "source" / "m.gguf"
    with_rope_freqs(path)
    found = refused(tmp_path)
    assert found.slug == "gguf-tensors-unused" and "rope_freqs.weight" in str(found)


def with_rope_freqs(path: Path) -> None:
    import gguf

    reader = gguf.GGUFReader(path)
    writer = gguf.GGUFWriter(path.with_suffix(".new"), "llama")
    for name, field in reader.fields.items():
        if name not in ("general.architecture",) and not name.startswith("GGUF."):
            sub = field.types[-1] if len(field.types) > 1 else None
            writer.add_key_value(name, field.contents(), field.types[0], sub)
    for tensor in reader.tensors:
        writer.add_tensor(tensor.name, np.array(tensor.data))
    writer.add_tensor("rope_freqs.weight", np.ones(4, np.float32))
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()
    path.with_suffix(".new").replace(path)


def test_what_is_no_model_is_refused(tmp_path: Path) -> None:
    path = source(tmp_path) / "m.gguf"
    unknown = pair("general.architecture", 8, struct.pack("<Q", 5) + b"bison")
    path.write_bytes(by_hand([unknown], [entry("token_embd.weight", (8,), 0, 0)], b"\0" * 32))
    assert refused(tmp_path).slug == "gguf-unsupported"
    path.write_bytes(by_hand([ARCHITECTURE], [entry("token_embd.weight", (8,), 0, 0)], b"\0" * 32))
    assert refused(tmp_path).slug in ("gguf-unsupported", "gguf-tensors-unused")
    path.write_bytes(b"GGUF")
    assert refused(tmp_path).slug == "bad-gguf"


def test_one_file(tmp_path: Path) -> None:
    folder = source(tmp_path)
    assert "0 GGUF files" in str(refused(tmp_path))
    for name in ("m-00001-of-00002.gguf", "m-00002-of-00002.gguf"):
        (folder / name).write_bytes(b"GGUF")
    found = refused(tmp_path)
    assert found.slug == "one-gguf" and "llama-gguf-split" in found.hint


def test_a_file_without_a_tokenizer_names_the_way_out(tmp_path: Path, tokenizer: Path, monkeypatch: Any) -> None:
    monkeypatch.setattr("gguf_files._add_tokenizer", lambda writer, folder: writer.add_vocab_size(SIZE))
    write_llama(source(tmp_path) / "m.gguf", arrays(llama(True)), tiny.LLAMA, tokenizer, "F32")
    found = refused(tmp_path)
    assert found.slug == "gguf-no-tokenizer" and "tokenizer:" in found.hint
    assert (convert(tmp_path, tokenizer=False) / "model.safetensors").is_file()


def test_a_build_of_one(project: Any, tokenizer: Path) -> None:
    """Through the command line and a worker: the action of its own, and nothing to do the second time."""
    (project.root / "weights").mkdir()
    write_llama(project.root / "weights/m.gguf", arrays(llama(True)), tiny.LLAMA, tokenizer, "Q8_0")
    project.manifest('[model.m]\nsource = "path:weights/m.gguf"\n')
    done = project.build("model:m")
    assert done.code == 0, done.err
    assert done.ran == ["model:m#fetch", "model:m#dequantize", "model:m"]
    assert project.run("build", "model:m").out.startswith("nothing to do")
