"""What `tunekit generate` refuses before a model is loaded, and how it speaks with the process that has one."""

from __future__ import annotations

import io
import json
from typing import Any

import pytest

from tunekit.cli import talking
from tunekit.completion import Asked, Opening


@pytest.fixture
def declared(project):
    project.one_run()
    return project


@pytest.mark.parametrize(
    ("words", "told"),
    [
        (["dataset:a", "--prompt", "x"], "wrong-kind"),
        (["run:x#tokens", "--prompt", "x"], "wrong-kind"),
        (["run:y", "--prompt", "x"], "unknown-label"),
        (["run:x", "--prompt", "x"], "tunekit build run:x"),
        (["model:m", "--prompt", "x", "--top-p", "0"], "--top-p is above 0"),
        (["model:m", "--prompt", "x", "-n", "2"], "all are the same"),
        (["model:m", "--chat", "-n", "2", "--temperature", "1"], "goes on with one answer"),
        (["model:m", "--chat", "--raw"], "--raw has no turns"),
        (["model:m", "--chat", "--prompt", "x"], "not allowed with"),
        (["model:m", "--file", "no.jsonl"], "bad-prompts"),
    ],
)
def test_what_is_refused(declared, words, told):
    done = declared.run("generate", *words)
    assert done.code == 2 and told in done.err, done.err


@pytest.mark.parametrize("line", ["{", '{"text": "x"}', '{"prompt": [{"role": "user"}]}', "[1]", '{"messages": []}'])
def test_files_without_prompts(declared, tmp_path, line):
    file = tmp_path / "prompts.jsonl"
    file.write_text('{"prompt": "fine"}\n\n' + line + "\n")
    done = declared.run("generate", "model:m", "--file", str(file))
    assert done.code == 2 and f"{file}:3" in done.err and "bad-prompts" in done.err


class Spoken:
    """In the place of the process: says what was asked, as a model would."""

    made: list[Spoken] = []

    def __init__(self, opening: Opening) -> None:
        self.opening, self.asked = opening, []
        self.ready = {"template": True}
        Spoken.made.append(self)

    def __enter__(self) -> Spoken:
        return self

    def __exit__(self, *error: object) -> None:
        pass

    def ask(self, asked: Asked) -> Any:
        self.asked.append(asked)
        text = f"answer {len(self.asked)}"
        if asked.stream:
            yield from ({"type": "piece", "text": piece} for piece in (text[:3], text[3:]))
        for _ in range(asked.n):
            yield {"type": "completion", "row": 0, "text": text, "tokens": 2, "finished": True}


@pytest.fixture
def spoken(declared, monkeypatch):
    monkeypatch.setattr(talking, "Talk", Spoken)
    monkeypatch.setattr("tunekit.cli.generate._opening", lambda args: Opening("base"))
    Spoken.made.clear()
    return declared


def test_a_conversation_keeps_its_history(spoken, monkeypatch):
    monkeypatch.setattr("sys.stdin", io.StringIO("one\n\ntwo\n/reset\nthree\n/exit\nnever\n"))
    done = spoken.run("generate", "model:m", "--chat", "--system", "be kind", "--seed", "5", "--temperature", "1")
    assert done.code == 0 and done.out == "answer 1\nanswer 2\nanswer 3\n"
    first, second, third = [a.prompts[0] for a in Spoken.made[0].asked]
    assert [m["content"] for m in first] == ["be kind", "one"]
    assert [m["content"] for m in second] == ["be kind", "one", "answer 1", "two"]
    assert [m["role"] for m in second] == ["system", "user", "assistant", "user"]
    assert [m["content"] for m in third] == ["be kind", "three"]
    assert [a.seed for a in Spoken.made[0].asked] == [5, 6, 7]


def test_a_file_and_json(spoken, tmp_path):
    file = tmp_path / "p.jsonl"
    file.write_text('{"prompt": "a"}\n{"messages": [{"role": "user", "content": "b", "more": 1}]}\n')
    done = spoken.run("generate", "model:m", "--file", str(file), "--json", "-n", "2", "--temperature", "0.5")
    lines = [json.loads(line) for line in done.out.splitlines()]
    assert [(line["row"], line["completion"]) for line in lines] == [(0, "answer 1")] * 2 + [(1, "answer 2")] * 2
    assert lines[2]["prompt"] == [{"role": "user", "content": "b"}] and lines[0]["schema"] == "tunekit/generate/1"
    assert not any(a.stream for a in Spoken.made[0].asked)


def test_a_pipe_is_a_prompt(spoken, monkeypatch):
    monkeypatch.setattr("sys.stdin", io.StringIO("line one\nline two\n"))
    assert spoken.run("generate", "model:m", "--raw").code == 0
    assert Spoken.made[0].asked[0].prompts == ["line one\nline two"]


def test_a_process_that_dies_is_told_of(monkeypatch):
    """The real process: it has no model to open."""
    monkeypatch.setattr(talking.sys, "executable", "/bin/false")
    with pytest.raises(talking.ActionError) as found, talking.Talk(Opening("/nowhere")):
        pass
    assert found.value.slug == "generate-died" and "status 1" in found.value.message
