"""Recomputed activations: the same run, also where only an adapter is trained (and so nothing in front of the first
layer asks for a gradient)."""

import sys
from pathlib import Path
from typing import Any

import pytest

sys.path.insert(0, str(Path(__file__).parent))
import torch
from pair_rows import PAIRED, encoded, pair_tokens, pairs
from safetensors.torch import load_file
from tiny_room import LORA, Room, tiny

from tunekit.methods.distill.run import run as distill
from tunekit.methods.orpo.run import run as orpo
from tunekit.methods.prm.run import run as prm
from tunekit.methods.reward.run import run as reward
from tunekit.methods.simpo.run import run as simpo

pytestmark = pytest.mark.torch
RUNS = {"distill": distill, "orpo": orpo, "simpo": simpo, "reward": reward, "prm": prm}
SPEC = PAIRED | {"batch_size": 4, "max_steps": 2, "learning_rate": 1e-2, "adapter": LORA | {"dropout": 0.0}}


@pytest.fixture(scope="module")
def shared(tmp_path_factory: pytest.TempPathFactory) -> Room:
    return Room(tmp_path_factory.mktemp("checkpointed"), "", orpo)


@pytest.mark.parametrize("method", RUNS)
def test_it_is_the_same_run(shared: Room, tmp_path: Path, method: str) -> None:
    rows = pairs(4, 0)
    inputs: dict[str, Any] = {"base": shared.model}
    spec = dict(SPEC)
    if method == "distill":
        spec |= {"teacher": "model:m", "lmbda": 0.5, "max_completion_length": 3, "temperature": 1.5}
        inputs["teacher"] = shared.new_model("teacher", 7, initializer_range=0.2)
        inputs["tokens"] = shared.tokens(method, tiny.random_rows(4))
    elif method == "prm":
        told = [encoded(row.prompt, row.chosen, [True] * len(row.chosen)) for row in rows]
        inputs["tokens"] = tiny.encoded_tokens(shared.root / method, [("steps", [told])])
    else:
        inputs["tokens"] = pair_tokens(shared, method, rows)
    found = []
    for checkpointing in (False, True):
        events = tiny.Recorder()
        root = tmp_path / str(checkpointing)
        asked = tiny.request(root, f"run.{method}", spec | {"gradient_checkpointing": checkpointing}, **inputs)
        RUNS[method](asked, events)
        assert events.settings["gradient_checkpointing"] is checkpointing
        weights = load_file(root / "out" / "last" / "adapter_model.safetensors")
        found.append((events.metrics, weights))
    (plain, before), (recomputed, after) = found
    for (_, one), (_, other) in zip(plain, recomputed, strict=True):
        assert one == pytest.approx(other, rel=1e-4, abs=1e-6)
    assert any(name.endswith("lora_B.weight") and value.abs().max() > 1e-3 for name, value in after.items())
    for name, value in before.items():
        torch.testing.assert_close(after[name], value, atol=1e-4, rtol=1e-3)
