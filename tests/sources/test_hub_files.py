from __future__ import annotations

import json
import string

import pytest
from hypothesis import assume, given
from hypothesis import strategies as st

from tunekit.errors import SourceError
from tunekit.sources.hub_files import path_in_repository, wanted

REPO = [
    ".gitattributes", "LICENSE.txt", "README.md", "config.json", "generation_config.json", "merges.txt",
    "model-00001-of-00002.safetensors", "model-00002-of-00002.safetensors", "model.safetensors.index.json",
    "modeling_x.py", "consolidated.safetensors", "onnx/config.json", "onnx/model.onnx", "pytorch_model.bin",
    "tokenizer.json", "tokenizer_config.json", "training_args.bin", "additional_chat_templates/tool.jinja",
]  # fmt: skip
SHARDS = ["model-00001-of-00002.safetensors", "model-00002-of-00002.safetensors"]


def read(path: str) -> bytes:
    assert path.endswith(".index.json")
    return json.dumps({"weight_map": {"a": SHARDS[0], "b": SHARDS[1], "c": SHARDS[0]}}).encode()


def of(use: str, paths: list[str], fragment: str = "", reads=read) -> dict[str, str]:
    return wanted("hf:o/n", use, fragment, paths, reads)


def refused(use: str, paths: list[str], fragment: str = "", reads=read) -> SourceError:
    with pytest.raises(SourceError) as caught:
        of(use, paths, fragment, reads)
    assert caught.value.hint and "hf:o/n" in caught.value.message
    return caught.value


def test_a_model_is_what_transformers_would_read():
    tokenizer = ["merges.txt", "tokenizer.json", "tokenizer_config.json", "additional_chat_templates/tool.jinja"]
    wanted_names = {"config.json", "generation_config.json", "model.safetensors.index.json", *SHARDS, *tokenizer}
    assert set(of("model", REPO)) == wanted_names
    assert set(of("tokenizer", REPO)) == set(tokenizer)


def test_one_file_of_weights_comes_before_other_copies():
    assert set(of("model", ["model.safetensors", "consolidated.safetensors"])) == {"model.safetensors"}
    assert set(of("model", ["x.safetensors", "sub/y.safetensors"])) == {"x.safetensors"}


def test_a_folder_of_a_model():
    found = of("model", [f"v2/{p}" for p in REPO] + ["config.json"], "v2")
    assert found["config.json"] == "v2/config.json" and SHARDS[0] in found and "pytorch_model.bin" not in found


@pytest.mark.parametrize(
    ("paths", "fragment", "slug", "said"),
    [
        (["config.json", "pytorch_model.bin"], "", "pickle-weights", "refs/pr"),
        (["a/pytorch_model.bin"], "a/*", "pickle-weights", "engine.unpickle"),
        (["config.json", "m.gguf"], "", "no-weights", "GGUF"),
        (["config.json"], "", "no-weights", "another repository"),
        (["model.safetensors.index.json", SHARDS[0]], "", "bad-weights", "another revision"),
        (["config.json"], "confg.json", "missing-file", "did you mean `config.json`?"),
        (["a/b.json"], "x", "missing-file", "it holds a/b.json"),
    ],
)
def test_models_that_are_refused(paths, fragment, slug, said):
    found = refused("model", paths, fragment)
    assert found.slug == slug and said in found.hint


@pytest.mark.parametrize("body", [b"", b"[]", b"{}", b'{"weight_map": []}', b'{"weight_map": {"a": "../x"}}'])
def test_an_index_that_is_none(body):
    assert refused("model", ["model.safetensors.index.json"], "", lambda _: body).slug == "bad-weights"


def test_a_dataset_is_its_files_of_rows():
    rows = ["main/test-0.parquet", "main/train-0.parquet", "x/a.jsonl.gz", "b.CSV", "t.txt.zst", "d.arrow"]
    other = [
        "README.md",
        "dataset_infos.json",
        "a/dataset_info.json",
        "load.py",
        ".hidden/x.parquet",
        "img.png",
        "a.bin",
    ]
    assert set(of("dataset", rows + other)) == set(rows)
    assert of("dataset", rows + other, "main") == {p[5:]: p for p in rows[:2]}
    assert of("dataset", rows + other, "main/test-*.parquet") == {"test-0.parquet": "main/test-0.parquet"}
    assert of("dataset", rows + other, "README.md") == {"README.md": "README.md"}
    found = refused("dataset", ["README.md", "load.py"])
    assert found.slug == "missing-file" and "README.md, load.py" in found.hint


def test_a_folder_that_holds_only_its_namesake_must_be_named_wholly():
    found = refused("dataset", ["a.json/a.json"], "a.json")
    assert found.slug == "missing-file" and found.hint == "name the file: `#a.json/a.json`"
    assert of("dataset", ["a.json/a.json"], "a.json/a.json") == {"a.json": "a.json/a.json"}


def test_a_path_that_leaves_the_artifact():
    assert refused("dataset", ["a\\b.csv"]).slug == "path-outside-project"


part = st.text(string.ascii_lowercase + ".", min_size=1, max_size=3).filter(lambda p: p.strip("."))
path = st.lists(part, min_size=1, max_size=3).map(lambda parts: "/".join(parts) + ".csv")


@given(st.sets(path, min_size=1, max_size=6), st.data())
def test_names_lead_back_to_the_repository(paths, data):
    """Law: what the lock keeps (names) is enough to find every file again."""
    some = data.draw(st.sampled_from(sorted(paths)))
    folder = some.rpartition("/")[0]
    fragment = data.draw(st.sampled_from(["", some, folder, f"{folder}/*.csv" if folder else "*.csv", "**/*.csv"]))
    try:
        found = of("dataset", sorted(paths), fragment)
    except SourceError:
        assume(False)
        raise
    assert {name: path_in_repository(fragment, list(found), name) for name in found} == found
