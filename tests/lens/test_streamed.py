"""The first rows of files where they lie: how many, in what order, and what becomes of a file that changed."""

from __future__ import annotations

import json
import os
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tunekit.errors import ActionError
from tunekit.lens import streamed
from tunekit.lens.streamed import Sample, first_rows, numbers_of
from tunekit.question import Question, Subject

READING = {"reader": "auto", "encoding": "utf-8", "split": "", "format": "completion", "fields": {}}


def signature(file: Path) -> str:
    s = os.stat(file)
    return f"{s.st_ino}:{s.st_size}:{s.st_mtime_ns}:{s.st_ctime_ns}"


def subject(folder: Path, texts: dict[str, list[str]]) -> Subject:
    files = {}
    for name, lines in texts.items():
        files[name] = folder / name
        files[name].write_text("".join(json.dumps({"text": text}) + "\n" for text in lines))
    reading = {
        **READING,
        "files": {name: str(file) for name, file in files.items()},
        "signatures": {name: signature(file) for name, file in files.items()},
    }
    return Subject("dataset:x", "", streamed=True, reading=reading)


def test_files_come_by_name_and_the_rest_is_not_opened(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(streamed, "FIRST_ROWS", 3)
    asked = subject(tmp_path, {"b.jsonl": ["3", "4"], "a.jsonl": ["1", "2"], "c.jsonl": ["5"]})
    (tmp_path / "c.jsonl").write_text("no row")
    assert first_rows(asked) == Sample("completion", [{"text": "1"}, {"text": "2"}, {"text": "3"}], False)
    monkeypatch.setattr(streamed, "FIRST_ROWS", 4)
    with pytest.raises(ActionError) as found:  # whether there is a fifth row is for the third file to say
        first_rows(asked)
    assert found.value.slug == "source-changed"


def test_a_dataset_that_ends_within_the_sample_is_whole(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(streamed, "FIRST_ROWS", 2)
    assert first_rows(subject(tmp_path, {"a.jsonl": ["1"], "b.jsonl": ["2"]})).whole


def test_bytes_are_bounded_but_for_one_row(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(streamed, "FIRST_BYTES", 50)
    found = first_rows(subject(tmp_path, {"a.jsonl": ["x" * 1000, "y"]}))
    assert [len(row["text"]) for row in found.rows] == [1000] and not found.whole
    assert len(first_rows(subject(tmp_path, {"a.jsonl": ["x" * 20] * 9})).rows) == 2


@settings(deadline=None)
@given(st.integers(1, 30), st.lists(st.integers(-2, 40), max_size=4), st.booleans(), st.integers(0, 40))
def test_rows_by_number_are_those_of_the_sample_or_an_error(
    count: int, rows: list[int], whole: bool, limit: int
) -> None:
    sample = Sample("completion", [{"text": str(n)} for n in range(count)], whole)
    question = Question([], rows=rows, limit=limit)
    wrong = [n for n in rows if not 0 <= n < count]
    if wrong:
        with pytest.raises(ActionError) as found:
            numbers_of(question, Subject("dataset:x", ""), sample)
        assert found.value.slug == ("no-such-row" if whole or wrong[0] < 0 else "beyond-sample")
        return
    numbers = numbers_of(question, Subject("dataset:x", ""), sample)
    assert numbers == (
        sorted(set(rows)) if rows else [i * count // min(count, limit) for i in range(min(count, limit))]
    )


@given(st.lists(st.text("aB", max_size=3), min_size=1, max_size=9), st.text("aBb", min_size=1, max_size=2))
def test_rows_with_a_text_at_any_depth(texts: list[str], wanted: str) -> None:
    sample = Sample("chat", [{"messages": [{"role": "x", "content": text}], "n": 1} for text in texts], True)
    found = numbers_of(Question([], grep=wanted), Subject("dataset:x", ""), sample)
    assert found == [n for n, text in enumerate(texts) if wanted in text]
    loose = numbers_of(Question([], grep=wanted, ignore_case=True), Subject("dataset:x", ""), sample)
    assert loose == [n for n, text in enumerate(texts) if wanted.lower() in text.lower()]
