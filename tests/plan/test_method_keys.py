"""The fields that a method adds to a run: the class of each, both ways, and that what it names enters the key."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import msgspec
import pytest
from keys_of import keys_of, manifest_of
from test_keys import another

import tunekit.kinds as kinds
from tunekit.methods.spec import Run
from tunekit.spec import SEMANTIC, fields_of
from tunekit.steps.adapter.spec import Adapter

PROJECT = """
[project]
name = "p"

[dataset.text]
source = "path:text.jsonl"
format = "completion"

[dataset.pairs]
source = "path:pairs.jsonl"
format = "preference"

[dataset.steps]
source = "path:pairs.jsonl"
format = "stepwise"

[dataset.judged]
source = "path:judged.jsonl"
format = "unpaired"

[tokenizer.t]
data = ["dataset:text"]

[model.m]
config = { model_type = "llama" }
tokenizer = "tokenizer:t"

[model.other]
config = { model_type = "llama" }
tokenizer = "tokenizer:t"
seed = 1

[adapter.lora]
r = 4
"""
PAIRS = 'data = ["dataset:pairs"]\neval_data = ["dataset:pairs"]'
RUNS = {
    "pretrain": 'data = ["dataset:text"]\neval_data = ["dataset:text"]',
    "distill": 'data = ["dataset:text"]\nteacher = "model:other"\nlmbda = 0.5\nmax_completion_length = 8\n'
    'eval_data = ["dataset:text"]',
    "dpo": PAIRS,
    "ipo": PAIRS,
    "kto": 'data = ["dataset:judged"]\neval_data = ["dataset:judged"]',
    "orpo": PAIRS,
    "simpo": PAIRS,
    "reward": PAIRS,
    "prm": 'data = ["dataset:steps"]\neval_data = ["dataset:steps"]',
}
OTHER: dict[str, Any] = {"teacher": "model:m", "reference": "model:other", "eval_data": []}
PINNED = {"method", "streaming"}  # `method` chooses the room; a stream has settings of its own, as of `sft`


def _fields() -> list[tuple[str, str]]:
    own = {method: fields_of(kinds.METHODS[f"run.{method}"].spec_type()) for method in RUNS}
    return [(m, name) for m, found in own.items() for name in found if name not in {*fields_of(Run), *PINNED}]


@pytest.fixture(scope="module")
def sample(tmp_path_factory: pytest.TempPathFactory) -> Any:
    root: Path = tmp_path_factory.mktemp("methods")
    runs = "".join(f'\n[run.{m}]\nmethod = "{m}"\nmodel = "model:m"\n{text}\n' for m, text in RUNS.items())
    (root / "tunekit.toml").write_text(PROJECT + runs)
    (root / "text.jsonl").write_text('{"text": "a"}\n')
    (root / "pairs.jsonl").write_text('{"prompt": "a", "chosen": "b", "rejected": "c"}\n')
    (root / "judged.jsonl").write_text('{"prompt": "a", "completion": "b", "label": true}\n')
    manifest = manifest_of(root)
    return manifest, keys_of(manifest, by="label")


@pytest.mark.parametrize(("method", "name"), _fields())
def test_a_field_is_in_the_key_or_is_not(sample: Any, method: str, name: str) -> None:
    manifest, before = sample
    label = f"run:{method}"
    spec = manifest.targets[label].spec
    info = fields_of(type(spec))[name]
    old = getattr(spec, name)
    new = OTHER.get(name, another(old, info.type))
    assert new is not None and new != old
    changed = manifest.targets[label]._replace(spec=msgspec.structs.replace(spec, **{name: new}))
    after = keys_of(manifest._replace(targets={**manifest.targets, label: changed}), by="label")
    moved = {key for key in before.keys() | after.keys() if before.get(key) != after.get(key)}
    assert {key.partition("#")[0] for key in moved} == ({label} if info.cls == SEMANTIC else set())


def test_a_teacher_enters_by_its_bytes(sample: Any) -> None:
    """Not by its name: another seed of the teacher is another key of the run that learns from it."""
    manifest, _ = sample
    before = keys_of(manifest)
    teacher = manifest.targets["model:other"]
    other = teacher._replace(spec=msgspec.structs.replace(teacher.spec, seed=2))
    after = keys_of(manifest._replace(targets={**manifest.targets, "model:other": other}))
    assert {key for key in before if before[key] != after[key]} == {"model:other", "run:distill"}


# What a reference is made of; nothing else of a run is in its key.
SCORED = {"reference", "sequence_len", "overlong", "eval_data", "dtype"}
SHARED = (
    "beta",
    "label_smoothing",
    "learning_rate",
    "seed",
    "max_steps",
    "batch_size",
    "loss",
    "norm",
    "use_weighting",
)


@pytest.mark.parametrize("name", [*sorted(SCORED), *SHARED])
def test_a_sweep_shares_its_reference(sample: Any, name: str) -> None:
    manifest, before = sample[0], keys_of(sample[0])
    target = manifest.targets["run:dpo"]
    old, info = getattr(target.spec, name), fields_of(type(target.spec))[name]
    changed = msgspec.structs.replace(target.spec, **{name: OTHER.get(name, another(old, info.type))})
    after = keys_of(manifest._replace(targets={**manifest.targets, "run:dpo": target._replace(spec=changed)}))
    assert before["run:dpo"] != after["run:dpo"]
    assert (before["run:dpo#reference"] == after["run:dpo#reference"]) == (name not in SCORED)


def test_dpo_and_ipo_share_a_reference(sample: Any) -> None:
    before = keys_of(sample[0])
    assert before["run:dpo#reference"] == before["run:ipo#reference"]


@pytest.mark.parametrize(("name", "shared"), [("beta", True), ("learning_rate", True), ("desirable_weight", True),
                                              ("seed", False), ("batch_size", False)])  # fmt: skip
def test_a_reference_of_kto_has_its_pairing_in_the_key(sample: Any, name: str, shared: bool) -> None:
    """Which answer goes to which prompt is decided by the seed and by how many rows a step has."""
    manifest, before = sample[0], keys_of(sample[0])
    target = manifest.targets["run:kto"]
    new = another(getattr(target.spec, name), fields_of(type(target.spec))[name].type)
    changed = target._replace(spec=msgspec.structs.replace(target.spec, **{name: new}))
    after = keys_of(manifest._replace(targets={**manifest.targets, "run:kto": changed}))
    assert (before["run:kto#reference"] == after["run:kto#reference"]) == shared
    assert before["run:kto#tokens"] == after["run:kto#tokens"]


def test_a_quantized_base_is_another_reference(sample: Any) -> None:
    """An adapter is no part of a reference, but for how it quantizes the base."""
    manifest, before = sample[0], keys_of(sample[0])
    target = manifest.targets["run:dpo"]
    for quantize, same in (("none", True), ("nf4", False)):
        spec = msgspec.structs.replace(target.spec, adapter=Adapter(r=3, quantize=quantize))
        after = keys_of(manifest._replace(targets={**manifest.targets, "run:dpo": target._replace(spec=spec)}))
        assert (before["run:dpo#reference"] == after["run:dpo#reference"]) == same
