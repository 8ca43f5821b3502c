"""What is written is what safetensors reads; what is broken is refused."""

import json
import sys
from pathlib import Path

import pytest

sys.path.insert(0, str(Path(__file__).parent))
import tiny_stack  # noqa: F401 (offline, one thread)
import torch
from safetensors.torch import load_file, save_file

from tunekit.engine import weights
from tunekit.engine.loading import require_safetensors
from tunekit.errors import ActionError

pytestmark = pytest.mark.torch
TENSORS = {
    "b": torch.arange(6, dtype=torch.float32).reshape(2, 3),
    "a.weight": torch.ones(3, 2, dtype=torch.bfloat16) / 3,
    "scalar": torch.tensor(7, dtype=torch.int64),
    "flag": torch.tensor([True, False, True]),
}


def write(directory: Path) -> None:
    slots = [weights.Slot(name, "", t.dtype, tuple(t.shape)) for name, t in TENSORS.items()]
    weights.write(directory, reversed(slots), lambda slot: TENSORS[slot.name])


def test_written_file_is_read_by_safetensors(tmp_path: Path) -> None:
    write(tmp_path)
    found = load_file(tmp_path / "model.safetensors")
    assert found.keys() == TENSORS.keys()
    for name, tensor in TENSORS.items():
        assert torch.equal(found[name], tensor) and found[name].dtype == tensor.dtype
    assert weights.validate(tmp_path) == 4


def test_our_bytes_are_those_of_safetensors(tmp_path: Path) -> None:
    """Two writers of one artifact must not give two digests."""
    write(tmp_path)
    save_file(TENSORS, tmp_path / "theirs", metadata={"format": "pt"})
    assert (tmp_path / "model.safetensors").read_bytes() == (tmp_path / "theirs").read_bytes()


def test_shards(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(weights, "MAX_SHARD", 30)
    write(tmp_path)
    index = json.loads((tmp_path / weights.INDEX).read_text())
    assert index["metadata"]["total_size"] == 24 + 12 + 8 + 3
    assert index["weight_map"] == {
        name: slot.file.rpartition("/")[2] for name, slot in weights.slots_of(tmp_path).items()
    }
    assert len(set(index["weight_map"].values())) == 3


@pytest.mark.parametrize(
    ("tensor", "said"),
    [
        (torch.zeros(0, 4), "empty"),
        (torch.tensor([1.0, float("nan")]), "NaN"),
        (torch.tensor([float("inf")], dtype=torch.bfloat16), "infinity"),
    ],
)
def test_broken_tensors_are_refused(tmp_path: Path, tensor: torch.Tensor, said: str) -> None:
    save_file({"fine": torch.ones(2), "broken": tensor}, tmp_path / "model.safetensors")
    with pytest.raises(ActionError, match=f"broken .*{said}") as found:
        weights.validate(tmp_path)
    assert found.value.slug == "bad-weights"


def test_torn_file_is_refused(tmp_path: Path) -> None:
    write(tmp_path)
    whole = (tmp_path / "model.safetensors").read_bytes()
    (tmp_path / "model.safetensors").write_bytes(whole[:-3])
    with pytest.raises(ActionError, match="not a safetensors file"):
        weights.validate(tmp_path)


@pytest.mark.parametrize(
    ("file", "slug"), [("pytorch_model.bin", "pickle-weights"), ("notes.txt", "bad-model"), ("m.gguf", "bad-model")]
)
def test_pickles_are_refused(tmp_path: Path, file: str, slug: str) -> None:
    (tmp_path / file).write_bytes(b"x")
    (tmp_path / "config.json").write_text("{}")
    with pytest.raises(ActionError) as found:
        require_safetensors(str(tmp_path))
    assert found.value.slug == slug
