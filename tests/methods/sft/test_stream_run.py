"""Streamed runs with the real trainer: the bits of a straight run after a kill, at every step; what the record says."""

import json
import os
import random
import shutil
import signal
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

sys.path.insert(0, str(Path(__file__).parents[2] / "engine"))
sys.path.insert(0, str(Path(__file__).parent))
import packed_models as models
import tiny_stack as tiny
from sft_runs import LORA, Case

from tunekit.data.rowset import write_dataset
from tunekit.engine import corpus
from tunekit.errors import ActionError
from tunekit.methods.sft.run import run
from tunekit.protocol import Input, Request

pytestmark = pytest.mark.torch
SPEC: dict[str, Any] = {
    "model": "model:m",
    "data": ["dataset:files", {"dataset": "dataset:chunks", "weight": 0.5}],
    "streaming": True,
    "packing": True,
    "overlong": "split",
    "sequence_len": 64,
    "buffer_tokens": 700,
    "batch_size": 2,
    "max_steps": 9,
    "learning_rate": 1e-2,
    "checkpoint_steps": 1,
}
WAYS: dict[str, dict[str, Any]] = {
    "packed": SPEC,
    "packed, accumulated, with dropout": SPEC | {"micro_batch_size": 1, "adapter": LORA},
    "padded": SPEC | {"packing": False, "batch_size": 4},
    "padding-free": SPEC | {"packing": False, "padding_free": True, "batch_size": 4},
}
READING = {"source": "path:f", "reader": "auto", "encoding": "utf-8", "split": "", "format": "completion", "fields": {}}


def texts(count: int, seed: int) -> list[str]:
    draw = random.Random(seed)
    return ["".join(draw.choice("abcdefg ") for _ in range(draw.choice([9, 20, 31, 90]))) for _ in range(count)]


class Streamed(Case):
    """Three files where they lie, and a dataset in chunks."""

    def __init__(self, root: Path) -> None:
        super().__init__(root)
        self.files = root / "files"
        self.files.mkdir()
        for n in range(3):
            lines = [json.dumps({"text": text}) + "\n" for text in texts(14, n)]
            (self.files / f"{n}.jsonl").write_text("".join(lines))
        write_dataset(root / "chunks", ({"text": t} for t in texts(20, 9)), "completion", chunk_rows=6)
        self.chunks = root / "chunks"

    def sources(self) -> list[Input]:
        signatures = {}
        for path in self.files.iterdir():
            s = path.stat()
            signatures[path.name] = f"{s.st_ino}:{s.st_size}:{s.st_mtime_ns}:{s.st_ctime_ns}"
        reading = READING | {"signatures": signatures}
        files = Input(str(self.files), "sha256:" + "1" * 64, "files", "dataset:files#files", reading=reading)
        return [files, Input(str(self.chunks), "sha256:" + "2" * 64, "dataset", "dataset:chunks")]

    def request(self, root: Path, spec: dict[str, Any], **inputs: str) -> Request:
        found = super().request(root, spec, **inputs)
        tokens = {} if "eval_data" in spec else {"tokens": []}
        sources = self.sources()[: len(spec["data"])]
        data = {"data": sources, "tokenizer": [Input(self.model, "sha256:" + "3" * 64, "model", "model:m")]}
        return found._replace(inputs=found.inputs | data | tokens)


@pytest.fixture(scope="module")
def case(tmp_path_factory: pytest.TempPathFactory) -> Streamed:
    return Streamed(tmp_path_factory.mktemp("stream"))


@pytest.mark.parametrize("way", WAYS)
def test_interrupted_at_every_step_is_the_straight_run(case: Streamed, tmp_path: Path, way: str) -> None:
    """Buffers hold about 5 steps, so that some steps end inside of one and some at its edge."""
    straight, events = case.run(tmp_path / "straight", WAYS[way])
    for step in range(2, 10):
        with pytest.raises(KeyboardInterrupt):
            run(case.request(tmp_path, WAYS[way]), tiny.Interrupted(step))
    outputs, resumed = case.run(tmp_path, WAYS[way])
    assert resumed.settings["resumed_from_step"] == 8
    assert tiny.tree(outputs["main"]) == tiny.tree(straight["main"])
    assert resumed.metrics == events.metrics
    for name in ("summary", "ledger"):
        assert resumed.settings[name] == events.settings[name]
    assert len(events.metrics) == 9


def test_killed_run_is_the_straight_one(case: Streamed, tmp_path: Path) -> None:
    """SIGKILL: no handler, no cleanup. What a checkpoint has of the stream is where it stands, and no row."""
    spec = WAYS["packed, accumulated, with dropout"] | {"checkpoint_steps": 3, "buffer_tokens": 300}
    straight, events = case.run(tmp_path / "straight", spec)
    req = case.request(tmp_path, spec)
    (tmp_path / "request.json").write_text(req.to_json())
    script = Path(__file__).with_name("kill_at.py")
    child = subprocess.run(
        [sys.executable, str(script), str(tmp_path / "request.json"), "8"],
        cwd=Path(__file__).parents[3],
        env={"PYTHONPATH": os.pathsep.join(sys.path), "PATH": "", "HOME": str(tmp_path), "OMP_NUM_THREADS": "1"},
        capture_output=True,
        timeout=120,
    )
    assert child.returncode == -signal.SIGKILL, child.stderr.decode()[-2000:]
    body = (Path(req.staging) / "train" / "checkpoint-6" / "stream.json").read_bytes()
    assert len(body) < 2000 and json.loads(body)[0][0] > 0, "not the first buffer"
    outputs, resumed = case.run(tmp_path, spec)
    assert resumed.settings["resumed_from_step"] == 6
    assert tiny.tree(outputs["main"]) == tiny.tree(straight["main"])
    assert resumed.metrics == events.metrics


def test_a_resumed_run_tokenizes_one_buffer_again_at_most(
    case: Streamed, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    spec = SPEC | {"data": ["dataset:files"], "buffer_tokens": 300, "max_steps": 12}
    read: list[str] = []
    own = corpus._rows_of_file

    def counted(name: str, *more: Any) -> Any:
        for number, row in own(name, *more):
            read.append(f"{name}:{number}")
            yield number, row

    monkeypatch.setattr(corpus, "_rows_of_file", counted)
    with pytest.raises(KeyboardInterrupt):
        run(case.request(tmp_path, spec), tiny.Interrupted(11))
    position = json.loads((tmp_path / "staging" / "train" / "checkpoint-10" / "stream.json").read_text())
    (epoch, shard, row), counts = position[0][2][0], position[0][3][0]
    assert counts["rows"] == epoch * 42 + shard * 14 + row > 20
    monkeypatch.setattr(corpus, "_rows_of_file", own)
    seen: list[tuple[int, int, int]] = []
    rows = corpus.Corpus._rows

    def from_where(self: Any, place: Any) -> Any:
        seen.append(tuple(place))
        return rows(self, place)

    monkeypatch.setattr(corpus.Corpus, "_rows", from_where)
    _, events = case.run(tmp_path, spec)
    assert seen == [(0, 0, 0), (epoch, shard, row)], "the check's few rows, and the exact next document"
    assert events.settings["resumed_from_step"] == 10


def test_what_the_record_says(case: Streamed, tmp_path: Path) -> None:
    _, events = case.run(tmp_path, SPEC | {"logging_steps": 4})
    batches, summary = events.settings["batches"], events.settings["summary"]
    assert batches == {
        "layout": "rows",
        "order": "stream",
        "buffer_tokens": 700,
        "shards": {"dataset:files": 3, "dataset:chunks": 4},
    }
    counts = ("tokens", "supervised_tokens", "padding_tokens")
    assert {name: sum(f[name] for _, f in events.metrics) for name in counts} == {n: summary[n] for n in counts}
    assert summary["tokens"] > 9 * 2 * 64 * 0.9 and summary["fill"] > 0.9 and summary["epochs"] == 0
    files, chunks = events.settings["ledger"]["data"]
    assert files["dataset"] == "dataset:files" and files["split"] > 0 and files["restarts"] == 0
    assert chunks["tokens_read"] == pytest.approx(files["tokens_read"] / 2, abs=100)
    assert files["tokens"] + chunks["tokens"] >= summary["tokens"], "the last buffer is not trained on to its end"
    (gate,) = events.of("gate")
    assert gate["name"] == "packed_loss" and gate["passed"]


def test_the_end_of_a_stream_is_a_new_epoch_and_is_told(case: Streamed, tmp_path: Path) -> None:
    """42 documents are about 30 sequences."""
    _, events = case.run(tmp_path, SPEC | {"data": ["dataset:files"], "batch_size": 8, "max_steps": 8})
    (files,) = events.settings["ledger"]["data"]
    assert files["restarts"] == 2 == events.settings["summary"]["epochs"] and files["rows"] > 84
    (warning,) = [w for w in events.of("warning") if w["slug"] == "stream-restarted"]
    assert "dataset:files 2 times" in warning["message"]


def test_evaluated_and_finished_early(case: Streamed, tmp_path: Path) -> None:
    spec = SPEC | {"eval_data": ["dataset:b"], "eval_steps": 4}
    case.evaluated = tiny.make_tokens(tmp_path / "evaluated", [tiny.random_rows(7, 2)])
    _, straight = case.run(tmp_path / "straight", spec)
    assert [step for step, f in straight.metrics if "eval_loss" in f] == [4, 8, 9]
    req = case.request(tmp_path, spec)
    with pytest.raises(KeyboardInterrupt):
        run(req, tiny.Interrupted(5))
    events = tiny.Recorder()
    run(req._replace(finish=True), events)
    assert events.settings["finished_early"] == {"step": 4, "of": 9} and not events.of("progress")
    assert events.metrics[:4] == straight.metrics[:4]
    assert 0 < events.settings["ledger"]["data"][0]["rows"] <= straight.settings["ledger"]["data"][0]["rows"]
    (held_out,) = [e["settings"]["ledger"]["eval_data"] for e in events.of("effective") if "eval_data" in str(e)]
    assert held_out[0]["dataset"] == "dataset:b" and held_out[0]["sequences"] == 7


def test_a_model_that_cannot_keep_documents_apart_is_refused(case: Streamed, tmp_path: Path) -> None:
    base = tmp_path / "base"
    shutil.copytree(case.model, base)
    config = models.SIZES | {"vocab_size": 259, "state_size": 8}
    (base / "model.safetensors").unlink()
    models.AutoModelForCausalLM.from_config(models.AutoConfig.for_model("mamba", **config)).save_pretrained(base)
    with pytest.raises(ActionError, match="MambaForCausalLM") as found:
        case.run(tmp_path, SPEC, base=str(base))
    assert found.value.slug == "packing-not-honoured"
    _, events = case.run(tmp_path, SPEC | {"packing": False, "max_steps": 1}, base=str(base))
    assert len(events.metrics) == 1 and not events.of("gate")


def test_a_file_that_changed_ends_the_run(case: Streamed, tmp_path: Path) -> None:
    req = case.request(tmp_path, SPEC)
    file = case.files / "1.jsonl"
    os.utime(file)
    with pytest.raises(ActionError) as error:
        run(req, tiny.Recorder())
    assert error.value.slug == "source-changed" and "1.jsonl of dataset:files#files" in error.value.message


@pytest.mark.parametrize(
    ("reading", "slug", "words"),
    [
        ({"format": "prompt"}, "wrong-format", "`prompt` rows"),
        ({"format": "segments"}, "wrong-shape", "row 0 of"),
        ({"reader": "parquet"}, "bad-file", "jsonl cannot be read as parquet"),
        ({"split": "test"}, "unknown-split", "test"),
    ],
)
def test_files_that_cannot_be_streamed(
    case: Streamed, tmp_path: Path, reading: dict[str, Any], slug: str, words: str
) -> None:
    req = case.request(tmp_path, SPEC)
    files = req.inputs["data"][0]
    inputs = req.inputs | {"data": [files._replace(reading=files.reading | reading), req.inputs["data"][1]]}
    with pytest.raises(ActionError) as error:
        run(req._replace(inputs=inputs), tiny.Recorder())
    assert error.value.slug == slug and words in error.value.message
