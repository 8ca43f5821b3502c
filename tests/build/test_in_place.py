"""Files that a run reads where they lie: planned by their bytes, handed out with signatures, and never in the store."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import pytest

from tunekit.build.in_place import files_in_place
from tunekit.errors import ActionError

TOML = """
    [dataset.corpus]
    source = "path:corpus"
    format = "completion"
    {more}
    [tokenizer.t]
    source = "path:tokenizer"
    [model.m]
    config = {{ model_type = "llama" }}
    tokenizer = "tokenizer:t"
    [run.stream]
    method = "sft"
    model = "model:m"
    data = ["dataset:corpus"]
    streaming = true
    overlong = "split"
    max_steps = 5
    """


@pytest.fixture
def streamed(project: Any) -> Any:
    project.rows("corpus/a.jsonl", [{"text": "a"}])
    project.rows("corpus/deep/b.jsonl", [{"text": "b"}])
    project.write("tokenizer/tokenizer.json", "{}")
    project.write("map.py", "def f(row): return row\n")
    project.manifest(TOML.format(more=""))
    return project


def hand_out(project: Any, folder: Path) -> Any:
    planner = project.planner()
    nodes = planner.plan(["run:stream"])
    label = "dataset:corpus#files"
    return files_in_place(planner, nodes[label], nodes[label].outputs["main"], folder)


def test_planned_without_the_dataset(streamed: Any) -> None:
    nodes = streamed.plan("run:stream")
    assert not any(label.startswith("dataset:corpus") and label != "dataset:corpus#files" for label in nodes)
    assert "run:stream#tokens" not in nodes
    files = nodes["dataset:corpus#files"]
    assert (files.state, files.present, files.run) == ("fresh", True, False)
    assert files.outputs == streamed.plan("dataset:corpus")["dataset:corpus#fetch"].outputs, "the same bytes, one name"
    assert streamed.plan("dataset:corpus")["dataset:corpus"].run


@pytest.mark.parametrize(
    "more", ['map = "map.py:f"', "shuffle = true", "limit = 5", 'split = "[:10%]"', 'split = "corpus[5:]"']
)
def test_what_is_not_simply_its_files_is_made_first(streamed: Any, more: str) -> None:
    streamed.manifest(TOML.format(more=more))
    nodes = streamed.plan("run:stream")
    assert {"dataset:corpus", "dataset:corpus#fetch"} <= set(nodes) and "dataset:corpus#files" not in nodes
    assert "run:stream#tokens" not in nodes


def test_handed_out_as_links_with_the_signatures_of_what_was_hashed(streamed: Any, tmp_path: Path) -> None:
    found = hand_out(streamed, tmp_path / "links")
    assert (found.kind, found.label, found.path) == ("files", "dataset:corpus#files", str(tmp_path / "links"))
    assert found.reading["format"] == "completion" and found.reading["reader"] == "auto"
    for name in ("a.jsonl", "deep/b.jsonl"):
        link = tmp_path / "links" / name
        s = link.stat()
        assert link.is_symlink() and link.read_bytes() == (streamed.root / "corpus" / name).read_bytes()
        assert found.reading["signatures"][name] == f"{s.st_ino}:{s.st_size}:{s.st_mtime_ns}:{s.st_ctime_ns}"
    (streamed.root / "corpus" / "a.jsonl").rename(streamed.root / "corpus" / "c.jsonl")
    assert sorted(hand_out(streamed, tmp_path / "links").reading["signatures"]) == ["c.jsonl", "deep/b.jsonl"]
    assert not (tmp_path / "links" / "a.jsonl").is_symlink(), "links of an earlier attempt are gone"


@pytest.mark.parametrize("change", ["added", "gone", "longer"])
def test_changed_since_the_plan(streamed: Any, tmp_path: Path, change: str) -> None:
    planner = streamed.planner()
    node = planner.plan(["run:stream"])["dataset:corpus#files"]
    if change == "gone":
        os.unlink(streamed.root / "corpus" / "a.jsonl")
    else:
        streamed.rows("corpus/new.jsonl" if change == "added" else "corpus/a.jsonl", [{"text": "more"}] * 3)
    with pytest.raises(ActionError) as error:
        files_in_place(planner, node, node.outputs["main"], tmp_path / "links")
    assert error.value.slug == "source-changed"


def test_the_files_themselves_are_nothing_to_build(streamed: Any) -> None:
    done = streamed.build("dataset:corpus#files")
    assert done.code == 0 and done.ran == []
    assert not list(Path(streamed.store).rglob("objects/*/*"))


def test_a_verb_that_looks_for_its_result_says_where_the_files_lie(streamed: Any) -> None:
    done = streamed.run("path", "dataset:corpus#files")
    assert done.code == 2 and "error[in-place]: dataset:corpus#files is read where it lies, at path:corpus" in done.err
    assert "tunekit build dataset:corpus keeps its rows" in done.err


@pytest.mark.parametrize("words", [["dataset:corpus", "--with", "run:stream"], ["run:stream"]])
def test_nothing_of_its_tokens_is_kept_to_compare(streamed: Any, words: list[str]) -> None:
    done = streamed.run("inspect", *words, "--diff")
    said = "error[streamed]: run:stream makes the tokens of dataset:corpus while it trains, and keeps none"
    assert done.code == 2 and said in done.err and f"tunekit inspect {words[0]} without --diff shows" in done.err


def test_its_first_rows_are_shown_by_its_tokenizer_which_must_be_built(streamed: Any) -> None:
    done = streamed.run("inspect", "run:stream")
    assert done.code == 2 and "error[not-built]: tokenizer:t has no result" in done.err
