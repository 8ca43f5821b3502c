"""Models from a configuration and from a folder."""

import json
import shutil
import sys
from pathlib import Path
from typing import Any

import pytest

sys.path.insert(0, str(Path(__file__).parents[1] / "engine"))
import tiny_stack as tiny
import torch
from safetensors.torch import load_file

from tunekit.engine.loading import load_policy
from tunekit.errors import ActionError
from tunekit.steps.model.run import run

pytestmark = pytest.mark.torch
NEW = {"config": tiny.LLAMA, "tokenizer": "tokenizer:t"}


@pytest.fixture(scope="module")
def tokenizer(tmp_path_factory: pytest.TempPathFactory) -> str:
    return str(tiny.write_tokenizer(tmp_path_factory.mktemp("t") / "tokenizer"))


def make(root: Path, spec: dict[str, Any], **inputs: str) -> Path:
    req = tiny.request(root, "model", spec, **inputs)
    assert run(req, tiny.Recorder()) == {"main": "main"}
    return Path(req.out) / "main"


def test_new_model(tmp_path: Path, tokenizer: str) -> None:
    one, same = make(tmp_path / "1", NEW, tokenizer=tokenizer), make(tmp_path / "2", NEW, tokenizer=tokenizer)
    other = make(tmp_path / "3", NEW | {"seed": 1}, tokenizer=tokenizer)
    assert tiny.tree(one) == tiny.tree(same)
    assert tiny.tree(one)["model.safetensors"] != tiny.tree(other)["model.safetensors"]
    config = json.loads((one / "config.json").read_text())
    assert (config["vocab_size"], config["eos_token_id"], config["pad_token_id"]) == (259, 1, 0)
    loaded = load_policy(str(one), trainable=False)
    assert loaded.model(input_ids=torch.tensor([[3, 4, 5]])).logits.shape == (1, 3, 259)


@pytest.mark.parametrize(
    ("config", "slug", "said"),
    [
        ({"hiden_size": 32}, "unknown-config-key", "hidden_size"),
        ({"vocab_size": 100}, "vocabulary-too-small", "leave vocab_size out"),
        ({"model_type": "lama"}, "bad-config", ""),
        ({"num_attention_heads": 5}, "bad-config", ""),
    ],
)
def test_bad_config(tmp_path: Path, tokenizer: str, config: dict[str, Any], slug: str, said: str) -> None:
    with pytest.raises(ActionError) as found:
        make(tmp_path, NEW | {"config": tiny.LLAMA | config}, tokenizer=tokenizer)
    assert found.value.slug == slug and said in found.value.hint


def test_folder_is_copied_by_the_allow_list(tmp_path: Path, tokenizer: str) -> None:
    source = tmp_path / "source"
    shutil.copytree(make(tmp_path / "new", NEW, tokenizer=tokenizer), source)
    config = json.loads((source / "config.json").read_text())
    (source / "config.json").write_text(json.dumps(config | {"_name_or_path": "/home/me", "transformers_version": "1"}))
    for name in ("README.md", "training_args.bin", "modeling_x.py"):
        (source / name).write_text("x")
    shutil.copy(source / "model.safetensors", source / "consolidated.safetensors")
    copy = make(tmp_path / "copy", {"source": "path:m"}, source=str(source))
    assert tiny.tree(copy) == tiny.tree(tmp_path / "new" / "out" / "main")
    half = make(tmp_path / "half", {"source": "path:m", "dtype": "bfloat16"}, source=str(source))
    before, after = (load_file(p / "model.safetensors") for p in (copy, half))
    assert all(torch.equal(after[name], before[name].bfloat16()) for name in before)
    assert json.loads((half / "config.json").read_text())["dtype"] == "bfloat16"


@pytest.mark.parametrize("slug", ["pickle-weights", "remote-code", "bad-tokenizer", "bad-weights"])
def test_folders_that_are_refused(tmp_path: Path, tokenizer: str, slug: str) -> None:
    source = make(tmp_path / "new", NEW, tokenizer=tokenizer)
    if slug == "pickle-weights":
        (source / "model.safetensors").rename(source / "pytorch_model.bin")
    elif slug == "remote-code":
        config = json.loads((source / "config.json").read_text())
        (source / "config.json").write_text(json.dumps(config | {"auto_map": {"AutoModel": "modeling_x.X"}}))
    elif slug == "bad-tokenizer":
        (source / "tokenizer.json").unlink()
    else:
        (source / "model.safetensors").write_bytes(b"\0" * 20)
    with pytest.raises(ActionError) as found:
        make(tmp_path / "copy", {"source": "path:m"}, source=str(source))
    assert found.value.slug == slug


def test_weights_must_be_all_there(tmp_path: Path, tokenizer: str) -> None:
    """A missing weight would be a random one."""
    source = make(tmp_path, NEW, tokenizer=tokenizer)
    config = json.loads((source / "config.json").read_text())
    (source / "config.json").write_text(json.dumps(config | {"num_hidden_layers": 3}))
    with pytest.raises(ActionError, match="9 weights are missing") as found:
        load_policy(str(source))
    assert found.value.slug == "bad-model"
