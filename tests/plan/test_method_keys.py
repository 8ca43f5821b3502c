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

PROJECT = """
[project]
name = "p"

[dataset.text]
source = "path:text.jsonl"
format = "completion"

[dataset.pairs]
source = "path:pairs.jsonl"
format = "preference"

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
    "orpo": PAIRS,
    "simpo": PAIRS,
}
OTHER: dict[str, Any] = {"teacher": "model:m", "eval_data": []}
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
