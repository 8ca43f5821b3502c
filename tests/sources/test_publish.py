"""Publishing through the real command line and huggingface_hub's own client, to a hub on loopback."""

from __future__ import annotations

import shutil

import msgspec
import pytest

from tunekit.report.answers.table import TABLE
from tunekit.store import artifacts, records
from tunekit.store.store import Store

TOKEN = "hf_with_the_right_to_write"
TOML = """
[dataset.a]
source = "path:a.jsonl"

[dataset.secret]
source = "path:confidential.jsonl"
private = true

[tokenizer.t]
data = ["dataset:a"]
vocab_size = 300

[tokenizer.hidden]
data = ["dataset:secret"]
vocab_size = 300

[tokenizer.freed]
data = ["dataset:a", "dataset:secret"]
vocab_size = 300
private = false

[model.m]
config = { model_type = "llama" }
tokenizer = "tokenizer:t"
"""


@pytest.fixture(scope="module")
def template(module_project):
    """Tokenizers that were built, and a model whose artifact is put in by hand: no weights are made here."""
    project = module_project
    project.rows("a.jsonl", [{"text": "hi there"}, {"text": "ho"}])
    project.rows("confidential.jsonl", [{"text": "a secret"}])
    project.manifest(TOML)
    done = project.build("tokenizer:t", "tokenizer:hidden", "tokenizer:freed")
    assert done.code == 0, done.err
    model(project, b"weights of the first")
    return project


def model(project, weights: bytes, name: str = "model.safetensors") -> None:
    """A result of model:m; the newest one counts."""
    planner = project.planner()
    node = planner.plan(["model:m"])["model:m"]
    store = Store(project.store)
    folder = project.root.parent / "made"
    folder.mkdir()
    (folder / name).write_bytes(weights)
    (folder / "config.json").write_text('{"model_type": "llama"}')
    outputs = {"main": artifacts.seal(store, folder)}
    shutil.rmtree(folder)
    inputs = {
        "tokenizer": [
            {"label": "tokenizer:t", "output": "main", "digest": planner.nodes["tokenizer:t"].outputs["main"]}
        ]
    }
    environment = {"tunekit": "0", "python": "3", "machine": "x", "packages": {}, "commit": ""}
    record = {
        "key": node.key, "attempt": records.new_attempt(), "label": "model:m", "kind": "model", "preimage": node.image,
        "inputs": inputs, "source": "", "outputs": outputs, "spec": {"config": {"model_type": "llama"}},
        "effective": {}, "warnings": [], "gates": [], "parts": {}, "environment": environment,
        "started": 1.0, "seconds": 1.0, "log": "", "metrics": "",
    }  # fmt: skip
    records.add(store, record)
    records.select(store, record)


@pytest.fixture
def publish(hub, template, tmp_path):
    """`publish(*words, code=0)` → what was said. The user is logged in."""
    hub.token = TOKEN
    env = {
        "HF_ENDPOINT": hub.base, "HF_HOME": str(tmp_path / "home"), "HF_TOKEN": TOKEN, "HF_HUB_DISABLE_XET": "1",
    }  # fmt: skip

    def go(*words: str, code: int = 0, **more: str) -> str:
        process = template.start("publish", *words, **(env | more))
        out, err = process.communicate(timeout=60)
        assert process.returncode == code, out + err
        return out + err

    return go


def head(hub, name: str = "org/tutor") -> dict[str, bytes]:
    repo = hub.repos[name]
    return repo.commits[repo.refs["main"]]


def test_a_new_repository(publish, hub, template):
    said = publish("model:m", "hf:org/tutor")
    assert "hf:org/tutor  (new, private)" in said and "add      model.safetensors" in said
    assert "nothing was changed; `--yes` does it" in said
    assert not hub.repos and all(method in ("GET", "HEAD") for method, *_ in hub.requests)

    said = publish("model:m", "hf:org/tutor", "--yes")
    assert "3 files" in said and "sent and checked" in said and f"{hub.base}/org/tutor/commit/" in said
    assert [c["visibility"] for c in hub.created] == ["private"]
    files = head(hub)
    assert set(files) == {".gitattributes", "README.md", "config.json", "model.safetensors"}
    assert files["model.safetensors"].startswith(b"weights of")
    text = files["README.md"].decode()
    assert text.startswith("---\nlibrary_name: transformers") and 'from_pretrained("org/tutor")' in text
    assert "dataset:a" in text and str(template.root) not in text


def test_again_nothing_is_sent(publish, hub):
    publish("model:m", "hf:org/tutor", "--yes", "--public")
    assert [c["visibility"] for c in hub.created] == ["public"]
    before, asked = hub.repos["org/tutor"].refs["main"], len(hub.requests)
    body = msgspec.json.decode(publish("model:m", "hf:org/tutor", "--yes", "--json"), type=TABLE["publish"])
    assert {c.what for c in body.changes} == {"same"} and body.created is False and body.done is True
    assert hub.repos["org/tutor"].refs["main"] == before
    assert not [r for r in hub.requests[asked:] if r[0] in ("POST", "PUT")]


def test_weights_of_another_result_go(publish, hub, template):
    hub.add("org/tutor").commit({
        "model-00001-of-00002.safetensors": b"old", "model.safetensors.index.json": b"{}",
        "model.safetensors": b"older", "notes.md": b"of the owner",
    })  # fmt: skip
    said = publish("model:m", "hf:org/tutor")
    assert "delete   model-00001-of-00002.safetensors" in said and "replace  model.safetensors" in said
    publish("model:m", "hf:org/tutor", "--yes")
    assert set(head(hub)) == {"README.md", "config.json", "model.safetensors", "notes.md"}


def test_a_tokenizer_by_its_label(publish, hub):
    publish("tokenizer:t", "hf:org/words", "--yes")
    assert "tokenizer.json" in head(hub, "org/words")


class TestRefused:
    def test_without_a_token(self, publish, hub):
        said = publish("model:m", "hf:org/tutor", "--yes", code=2, HF_TOKEN="")
        assert "error[no-token]" in said and "hf auth login" in said
        assert not hub.repos

    def test_with_a_wrong_token(self, publish, hub):
        said = publish("model:m", "hf:org/tutor", "--yes", code=1, HF_TOKEN="hf_other")
        assert "error[login-refused]" in said and "hf_other" not in said
        assert not hub.repos

    def test_private(self, publish, hub):
        for label in ("tokenizer:hidden", "dataset:secret"):
            said = publish(label, "hf:org/x", "--yes", code=2)
            assert "error[private]" in said and "dataset:secret" in said
        assert not hub.requests

    def test_what_is_no_model(self, publish):
        assert "error[not-publishable]" in publish("dataset:a", "hf:org/x", code=2)

    @pytest.mark.parametrize("place", ["hf:datasets/org/x", "hf:org/x@v1", "hf:org/x#a/b", "pypi:x", "org/x", "hf:x"])
    def test_places(self, publish, place):
        said = publish("model:m", place, code=2)
        assert "error[not-a-repository]" in said or "error[source-syntax]" in said

    def test_not_built(self, publish, template):
        toml = template.root / "tunekit.toml"
        text = toml.read_text()
        toml.write_text(text.replace('model_type = "llama"', 'model_type = "llama", hidden_size = 8'))
        try:
            assert "error[not-built]" in publish("model:m", "hf:org/x", code=2)
        finally:
            toml.write_text(text)


def test_what_is_freed_says_nothing_of_what_is_private(publish, hub):
    publish("tokenizer:freed", "hf:org/words", "--yes")
    text = head(hub, "org/words")["README.md"].decode()
    assert "private data" in text and "path:a.jsonl" in text
    assert "secret" not in text and "confidential" not in text


def test_a_hub_that_keeps_other_bytes_is_found_out(publish, hub):
    hub.broken["config.json"] = b"{}"
    said = publish("model:m", "hf:org/tutor", "--yes", code=1)
    assert "error[publish-not-verified]" in said and "config.json" in said


def test_a_hub_that_fails_once(publish, hub):
    hub.failures["/commit/main"] = [(500, {})]
    publish("model:m", "hf:org/tutor", "--yes")
    assert "model.safetensors" in head(hub)


def test_somebody_else_commits_meanwhile(publish, hub):
    hub.add("org/tutor").commit({"a": b"1"})
    hub.failures["/commit/main"] = [(412, {"X-Error-Message": "A commit has happened since"})]
    said = publish("model:m", "hf:org/tutor", "--yes", code=1)
    assert "error[hub-failed]" in said and "412" in said
    assert set(head(hub)) == {"a"}


def test_the_card_is_in_the_words_of_who_publishes(publish, hub, template):
    """The store has the result under another project's labels."""
    other = type(template)(template.root.parent / "other", template.store, template.config)
    shutil.copytree(template.root, other.root, dirs_exist_ok=True, ignore=shutil.ignore_patterns(".tunekit"))
    text = TOML.replace("[dataset.a]", "[dataset.rows]").replace('"dataset:a"', '"dataset:rows"')
    other.manifest(text.replace("[tokenizer.t]", "[tokenizer.words]").replace('"tokenizer:t"', '"tokenizer:words"'))
    assert other.build("tokenizer:words").ran == []
    publish("tokenizer:words", "hf:org/words", "--yes", "-C", str(other.root))
    card = head(hub, "org/words")["README.md"].decode()
    assert "# tokenizer:words" in card and "dataset:rows" in card
    assert "tokenizer:t" not in card and "dataset:a" not in card
