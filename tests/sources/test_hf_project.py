"""A project with `hf:` sources, through the real command line and real workers, against a hub on loopback."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import tomllib
from pathlib import Path

import pytest

TOML = '[project]\nname = "hub"\n[dataset.train]\nsource = "hf:org/gsm@v1#main/train-*.jsonl"\n'
SECRET = "hf_a_token_that_nothing_may_write_down"


@pytest.fixture
def place(hub, tmp_path):
    """A private repository, a user with a home of his own, and a project. `run(verb, code)` → stdout and stderr."""
    repo = hub.add("datasets/org/gsm")
    repo.commit({f"main/train-{i}.jsonl": json.dumps({"text": f"row {i}"}) + "\n" for i in range(3)}, "v1")
    hub.private, hub.token = {"datasets/org/gsm"}, SECRET
    root = tmp_path / "project"
    root.mkdir()
    (root / "tunekit.toml").write_text(TOML)
    (tmp_path / "home").mkdir()
    (tmp_path / "home/token").write_text(SECRET)  # as `hf auth login` leaves it
    kept = {k: v for k, v in os.environ.items() if k in ("PATH", "HOME", "PYTHONPATH", "LANG", "TMPDIR")}
    env = kept | {"HF_ENDPOINT": hub.base, "HF_HOME": str(tmp_path / "home"), "TUNEKIT_MIN_FREE": "0"}
    env |= {"TUNEKIT_STORE": str(tmp_path / "store"), "TUNEKIT_CONFIG": str(tmp_path / "config")}

    class Place:
        def run(self, *words: str, code: int = 0, **more: str) -> str:
            command = [sys.executable, "-m", "tunekit", *words]
            done = subprocess.run(command, cwd=root, env=env | more, capture_output=True, text=True)
            assert done.returncode == code, done.stdout + done.stderr
            return done.stdout + done.stderr

    found = Place()
    found.root, found.repo, found.store, found.home = root, repo, tmp_path / "store", tmp_path / "home"
    return found


def test_lock_then_build_and_the_tag_moves(place, hub):
    place.run("lock")
    (block,) = tomllib.loads((place.root / "tunekit.lock").read_text())["source"]
    assert block["source"] == "hf:datasets/org/gsm@v1#main/train-*.jsonl"
    assert block["revision"] == place.repo.refs["v1"] and len(block["files"]) == 3
    old = (place.root / "tunekit.lock").read_bytes()
    place.repo.commit({"main/train-0.jsonl": '{"text": "another row"}\n'}, "v1")
    place.run("lock", "--check")
    place.run("build", "--locked", "dataset:train")
    assert (place.root / "tunekit.lock").read_bytes() == old
    shown = place.run("inspect", "dataset:train", "--json")
    assert "row 2" in shown and "another row" not in shown
    assert "up to date" in place.run("lock")
    place.run("lock", "--upgrade", "hf:org/gsm@v1#main/train-*.jsonl")  # as it is written in TOML
    (moved,) = tomllib.loads((place.root / "tunekit.lock").read_text())["source"]
    assert moved["revision"] == place.repo.refs["v1"] != block["revision"]


def test_the_worker_uses_the_users_login_cache_and_offline_mode(place, hub, tmp_path):
    place.run("build", "dataset:train")
    assert list((place.home / "hub").rglob("train-0.jsonl")), "in the user's own cache"
    assert hub.tokens and set(hub.tokens) == {SECRET}
    for folder in (place.store, place.root, tmp_path / "config"):
        for file in folder.rglob("*"):
            assert not file.is_file() or SECRET.encode() not in file.read_bytes(), file
    count = len(hub.requests)
    warm = {"HF_HOME": str(tmp_path / "new"), "HF_HUB_CACHE": str(place.home / "hub")}
    place.run("build", "--offline", "dataset:train", TUNEKIT_STORE=str(tmp_path / "two"), **warm)
    place.run("build", "dataset:train", TUNEKIT_STORE=str(tmp_path / "three"), HF_HUB_OFFLINE="1")
    assert len(hub.requests) == count, "a warm cache needs no network"
    cold = {"TUNEKIT_STORE": str(tmp_path / "four"), "HF_HUB_CACHE": str(tmp_path / "empty"), "HF_HUB_OFFLINE": "1"}
    said = place.run("build", "dataset:train", code=1, **cold)
    assert "offline" in said and "HF_HUB_OFFLINE" in said
    said = place.run("build", "dataset:train", code=1, HF_TOKEN_PATH="/nowhere", **{**cold, "HF_HUB_OFFLINE": "0"})
    assert "hf auth login" in said


def test_a_worker_that_runs_no_fetch_of_a_hub_has_no_network(place, hub):
    """The user's hub is opened to the fetch alone: code of the project finds a cache of its own, offline."""
    (place.root / "ops.py").write_text(
        "import os\n\ndef f(row):\n    return {'text': os.environ['HF_HUB_OFFLINE'] + ' ' + os.environ['HF_HOME']}\n"
    )
    (place.root / "tunekit.toml").write_text(TOML + 'map = "ops.py:f"\n')
    place.run("build", "dataset:train", TUNEKIT_TRUST="1")
    shown = place.run("inspect", "dataset:train", "--json")
    assert "1 " in shown and str(place.store) in shown and str(place.home) not in shown


def test_the_nursery_has_not_read_the_hubs_settings_before_the_fetch():
    """huggingface_hub reads its environment once, at import: what a light worker preloads must not import it."""
    from tunekit.kinds import kind_of
    from tunekit.worker import PRELOAD

    assert kind_of("fetch").preload == "light"
    script = f"import importlib, sys\nfor n in {PRELOAD['light']!r}: importlib.import_module(n)\n"
    script += "import tunekit.worker, tunekit.steps.fetch.run; print('huggingface_hub' in sys.modules)"
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True)
    assert done.stdout.strip() == "False", done.stdout + done.stderr


@pytest.mark.torch
def test_a_model_and_its_tokenizer_from_a_hub_are_the_ones_that_were_put_there(place, hub):
    """A model made here, served with what a repository has beside it, and built from there: the same bytes."""
    config = '{ model_type = "llama", hidden_size = 16, intermediate_size = 32, num_hidden_layers = 1, '
    config += "num_attention_heads = 2, num_key_value_heads = 2, tie_word_embeddings = true }"
    made = f'[tokenizer.t]\ndata = ["dataset:train"]\nvocab_size = 280\n[model.made]\nconfig = {config}\n'
    (place.root / "tunekit.toml").write_text(TOML + made + 'tokenizer = "tokenizer:t"\n')
    place.run("build", "model:made")
    place.run("export", "model:made", str(place.home / "made"))
    files = {p.name: p.read_bytes() for p in (place.home / "made").iterdir() if p.is_file()}
    assert "model.safetensors" in files
    hub.add("org/tiny").commit({**files, "pytorch_model.bin": b"\x80\x04", "modeling.py": "raise SystemExit(1)"})
    more = '[model.fetched]\nsource = "hf:org/tiny"\n[tokenizer.fetched]\nsource = "hf:org/tiny"\n'
    (place.root / "tunekit.toml").write_text(TOML + made + 'tokenizer = "tokenizer:t"\n' + more)
    place.run("build", "tokenizer:fetched")
    asked = [path for method, path, _ in hub.requests if method == "GET" and "/org/tiny/resolve" in path]
    assert asked and not any(path.endswith((".safetensors", ".bin", ".py")) for path in asked)
    place.run("build", "model:fetched")
    outputs = {n["label"]: n["outputs"] for n in json.loads(place.run("plan", "--json"))["actions"]}
    assert outputs["model:fetched"] == outputs["model:made"]
    fetched = Path(place.run("path", "tokenizer:fetched").strip())
    assert {p.name: p.read_bytes() for p in fetched.iterdir()}.items() <= files.items()
    assert not any(path.endswith((".bin", ".py")) for _, path, _ in hub.requests)
