"""Pickles to safetensors: the same tensors, in a process that can do no harm."""

from __future__ import annotations

import json
import os
import pickle
import socket
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

sys.path.insert(0, str(Path(__file__).parent))
import tiny_stack as tiny
import torch
from safetensors.torch import load_file

from tunekit.engine import unpickle, unpickle_child
from tunekit.engine.loading import load_policy
from tunekit.errors import ActionError

pytestmark = pytest.mark.torch


def can_cut_off() -> bool:
    script = f"import runpy,sys; sys.exit(not runpy.run_path({unpickle_child.__file__!r})['cut_off']())"
    return subprocess.run([sys.executable, "-c", script]).returncode == 0


@pytest.fixture(scope="module")
def off() -> dict[str, bool]:
    """Where a process cannot give up its network (some containers), the caller must have done it."""
    return {} if can_cut_off() else {"network_is_off": True}


def model() -> Any:
    from transformers import LlamaConfig, LlamaForCausalLM

    torch.manual_seed(5)
    config = {k: v for k, v in tiny.LLAMA.items() if k != "model_type"}
    return LlamaForCausalLM(LlamaConfig(**config, vocab_size=259, tie_word_embeddings=True))


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    made = tiny.write_tokenizer(tmp_path / "pickled")
    model().config.save_pretrained(made)
    (made / "modeling_x.py").write_text("raise SystemExit")
    return made


@pytest.mark.parametrize("shards", [1, 2])
def test_the_same_model(folder: Path, tmp_path: Path, off: dict[str, bool], shards: int) -> None:
    weights = model().state_dict()
    names = sorted(weights)
    for i in range(shards):
        part = {name: weights[name] for name in names[i::shards]}
        name = "pytorch_model.bin" if shards == 1 else f"pytorch_model-{i + 1:05d}-of-{shards:05d}.bin"
        torch.save(part, folder / name)
    (folder / "pytorch_model.bin.index.json").write_text("{}")
    out = tmp_path / "out"
    assert unpickle.convert(folder, out, **off) == len(weights)
    assert "modeling_x.py" not in os.listdir(out) and not [n for n in os.listdir(out) if ".bin" in n]
    got = {k: v for file in out.glob("*.safetensors") for k, v in load_file(file).items()}
    assert all(torch.equal(got[name], weights[name]) for name in names)
    ids = torch.arange(3, 30)[None]
    with torch.no_grad():
        assert torch.equal(load_policy(str(out), trainable=False).model(input_ids=ids).logits, model()(ids).logits)
    if shards == 2:
        assert set(json.loads((out / "model.safetensors.index.json").read_text())["weight_map"]) == set(names)
    with pytest.raises(ActionError) as found:
        unpickle.convert(folder, out, **off)
    assert found.value.slug == "exists"


def test_a_checkpoint_around_the_table(folder: Path, tmp_path: Path, off: dict[str, bool]) -> None:
    torch.save({"epoch": 3, "state_dict": {"a": torch.ones(2)}, "optimizer": {"lr": 1.0}}, folder / "last.ckpt")
    assert unpickle.convert(folder, tmp_path / "out", **off) == 1


class Evil:
    def __reduce__(self) -> tuple[Any, ...]:
        return os.system, (f"touch {os.environ['TUNEKIT_EVIL']}",)


def test_code_in_a_pickle_does_not_run(
    folder: Path, tmp_path: Path, off: dict[str, bool], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("TUNEKIT_EVIL", str(tmp_path / "was-here"))
    for write in (lambda f: torch.save({"a": Evil()}, f), lambda f: f.write_bytes(pickle.dumps(Evil()))):
        write(folder / "pytorch_model.bin")
        with pytest.raises(ActionError) as found:
            unpickle.convert(folder, tmp_path / "out", **off)
        assert found.value.slug == "unsafe-pickle"
    assert not (tmp_path / "was-here").exists() and not (tmp_path / "out").exists()
    assert sorted(os.listdir(tmp_path)) == ["pickled"], "nothing is left behind"


@pytest.mark.parametrize(
    ("value", "slug"),
    [({}, "bad-weights"), ({"a": 1}, "bad-weights"), ({"a": torch.tensor([float("nan")])}, "bad-weights")],
)
def test_what_is_no_table_of_weights(folder: Path, tmp_path: Path, off: dict[str, bool], value: Any, slug: str) -> None:
    torch.save(value, folder / "pytorch_model.bin")
    with pytest.raises(ActionError) as found:
        unpickle.convert(folder, tmp_path / "out", **off)
    assert found.value.slug == slug


def test_the_child_knows_nothing_and_reaches_nobody(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HF_TOKEN", "secret")
    assert "secret" not in str(unpickle.child_environment(str(tmp_path)))
    if not can_cut_off():
        pytest.skip("this system does not let a process give up its network")
    with socket.create_server(("127.0.0.1", 0)) as server:
        port = server.getsockname()[1]
        script = (
            f"import runpy, socket\ncut = runpy.run_path({unpickle_child.__file__!r})['cut_off']\n"
            f"socket.create_connection(('127.0.0.1', {port}), 5).close(); print('reached')\n"
            f"print(cut())\nsocket.create_connection(('127.0.0.1', {port}), 5)"
        )
        done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True)
    assert done.stdout.split() == ["reached", "True"] and "OSError" in done.stderr, done


def test_words(folder: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert unpickle.main([str(folder)]) == 2 and unpickle.main([str(folder), "out", "--fast"]) == 2
    assert unpickle.main([str(folder), str(tmp_path / "out")]) == 1
    assert "error[no-pickles]" in capsys.readouterr().err
